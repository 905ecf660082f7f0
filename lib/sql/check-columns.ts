import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { MISSING_TABLES } from '../errors.js'
import { check } from './startup-checks.js'
import { selectColumns } from './columns.js'
import type { Column } from './columns.js'
import { quoteTable } from './quote.js'
import type { TableMap } from '../options/table-map.js'
import type { Tables } from './tables.js'
import { parseRows } from './values.js'

type Name = keyof TableMap['users']['columns']
interface Expected { category: string, words: string, instead: string }

const TEXT = { category: 'S', words: 'text, varchar or another string type', instead: '' }

/** PostgreSQL's type categories; a domain has that of its base type. Also what to use instead of a column of another type. */
const EXPECTED: Partial<Record<Name, Expected>> = {
  username: TEXT,
  passwordHash: TEXT,
  active: { category: 'B', words: 'boolean', instead: '; or set users.columns.active: null, and users.activeWhen to a condition on it' },
  lastLogin: { category: 'D', words: 'a timestamp with time zone, a timestamp or a date', instead: '; or set users.columns.lastLogin: null' }
}

/**
 * Checks that the columns' types work in a login and in the join with tokens, without reading a row:
 * with other types the server would start, and answer every login 503.
 * Resolves to the columns of the users table.
 * @throws `FST_TOKEN_AUTH_MISSING_TABLES`, naming the column
 */
export async function checkColumns (db: Kysely<any>, { map: { users }, tokens, usersView }: Tables): Promise<Column[]> {
  const columns = parseRows<Column>(await check(db, selectColumns(users), 'users'))
  // With users.activeWhen the flag column is not used.
  const used = users.activeWhen === null ? users.columns : { ...users.columns, active: null }
  for (const [option, expected] of Object.entries(EXPECTED)) {
    const column = columns.find(({ name }) => name === used[option as Name])
    if (column !== undefined && column.category !== expected.category) refuse(users, option, column, expected)
  }
  await check(db, sql`select 1 from ${tokens} t join ${usersView} u on u.id = t.user_id where u.is_active and false`, 'users')
  return columns
}

function refuse (users: TableMap['users'], option: string, { name, type }: Column, { words, instead }: Expected): never {
  throw new MISSING_TABLES(`The column "${name}" of the users table ${quoteTable(users)} (users.columns.${option}) must be ${words}, but is ${type}: change its type${instead}`)
}
