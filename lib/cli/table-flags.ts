import { INVALID_OPTION } from '../errors.js'
import { readTableMap } from '../options/read.js'
import type { TableMap } from '../options/table-map.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { FlagValues } from './command.js'

/** Names of the tables and columns, for hosts with a users table of their own. */
export const MAPPING_FLAGS = {
  'users-table': { type: 'string', value: '<name>', about: 'your own users table' },
  'users-schema': { type: 'string', value: '<name>', about: 'the schema of that table' },
  'id-column': { type: 'string', value: '<name>', about: 'the primary key (default id)' },
  'id-type': { type: 'string', value: '<type>', about: 'the type of the key: uuid, integer, bigint or text (default: read from the database)' },
  'username-column': { type: 'string', value: '<name>', about: 'the username (default username)' },
  'password-column': { type: 'string', value: '<name>', about: 'the password hash (default password_hash)' },
  'active-column': { type: 'string', value: '<name>', about: 'boolean column for active users (default active); "none" if there is none' },
  'last-login-column': { type: 'string', value: '<name>', about: 'the time of the last login (default last_login), "none" without one' },
  'tokens-table': { type: 'string', value: '<name>', about: 'tokens table (default auth_tokens)' },
  'tokens-schema': { type: 'string', value: '<name>', about: 'the schema of that table' }
} as const

/** The plugin option of each flag. */
const PATHS: Record<keyof typeof MAPPING_FLAGS, string> = {
  'users-table': 'users.table',
  'users-schema': 'users.schema',
  'id-column': 'users.columns.id',
  'id-type': 'users.idType',
  'username-column': 'users.columns.username',
  'password-column': 'users.columns.passwordHash',
  'active-column': 'users.columns.active',
  'last-login-column': 'users.columns.lastLogin',
  'tokens-table': 'token.table',
  'tokens-schema': 'token.schema'
}

const NULLABLE = ['active-column', 'last-login-column']

export type Mapping = FlagValues<typeof MAPPING_FLAGS>
export type MappedOptions = Pick<AuthPluginOptions, 'users' | 'token'>

/** The plugin options that the flags set. */
export function toOptions (values: Mapping): MappedOptions {
  const options = {}
  for (const [flag, path] of Object.entries(PATHS)) {
    const value = values[flag as keyof Mapping]
    if (value !== undefined) put(options, path.split('.'), value === 'none' && NULLABLE.includes(flag) ? null : value)
  }
  return options
}

function put (options: Record<string, any>, path: string[], value: string | null): void {
  const name = path.pop() as string
  const group = path.reduce((outer, key) => (outer[key] ??= {}), options)
  group[name] = value
}

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the flag */
export function toTableMap (values: Mapping): TableMap {
  try {
    return readTableMap(toOptions(values))
  } catch (error) {
    const named = Object.entries(PATHS).reduce((text, [flag, path]) => text.replace(`${path} must`, `--${flag} must`), (error as Error).message)
    throw new INVALID_OPTION(named)
  }
}
