import type { AuthPluginOptions } from '../../types/options.js'
import { INVALID_OPTION } from '../errors.js'
import type { Values } from './table.js'

/** Where users and tokens are stored and how their columns are named, with every default filled in. */
export interface TableMap {
  users: {
    schema: string | null
    table: string
    columns: { id: string, username: string, passwordHash: string, active: string | null, lastLogin: string | null }
    select: readonly string[]
    activeWhen: string | null
    /** Whether our migrations create the users table. */
    isOwn: boolean
    idType: 'uuid' | 'integer' | 'bigint' | 'text' | null
  }
  tokens: { schema: string | null, table: string }
}

/** The table map of the values that `readOptions` has read. */
export function toTableMap (values: Values, options: AuthPluginOptions): TableMap {
  refuseSecretColumns(values)
  const { table, columns = {} } = options.users ?? {}
  // A value that is given as its default maps nothing.
  const isOwn = table === undefined && values['users.activeWhen'] === null && Object.values(columns).every((name) => name === undefined)
  return {
    users: {
      schema: values['users.schema'],
      table: values['users.table'],
      columns: {
        id: values['users.columns.id'],
        username: values['users.columns.username'],
        passwordHash: values['users.columns.passwordHash'],
        active: values['users.columns.active'],
        lastLogin: values['users.columns.lastLogin']
      },
      select: values['users.select'],
      activeWhen: values['users.activeWhen'],
      isOwn,
      idType: values['users.idType'] ?? (isOwn ? 'uuid' : null)
    },
    tokens: { schema: values['token.schema'], table: values['token.table'] }
  }
}

function refuseSecretColumns (values: Values): void {
  const taken = ['id', 'username', '__proto__', values['users.columns.passwordHash']]
  const clash = values['users.select'].find((name) => taken.includes(name))
  if (clash !== undefined) throw new INVALID_OPTION(`users.select must not name "${clash}": request.user has its id and username anyway, and never the password hash`)
}
