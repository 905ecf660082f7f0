import type { Migration } from 'kysely'
import type { AuthPluginOptions } from '../types/options.js'
import { readTableMap } from './options/read.js'
import { listMigrations } from './sql/migrations/index.js'

/**
 * The plugin's migrations by name, for a host that runs them with its own in one Kysely `Migrator`.
 * It takes the plugin's own `users` and `token`. Names that a release has used stay as they are.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`
 */
export function migrations ({ users, token }: Pick<AuthPluginOptions, 'users' | 'token'> = {}): Record<string, Migration> {
  return listMigrations(readTableMap({ users, token }))
}
