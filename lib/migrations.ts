import type { Migration } from '../types/migrations.js'
import type { AuthPluginOptions } from '../types/options.js'
import { readTableMap } from './options/read.js'
import { listMigrations } from './sql/migrations/index.js'

/**
 * The plugin's migrations by name, to run with your own in one Kysely `Migrator`. Pass the same `users` and `token`
 * as to the plugin. Names that a release has used never change.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`
 */
export function migrations ({ users, token }: Pick<AuthPluginOptions, 'users' | 'token'> = {}): Record<string, Migration> {
  return listMigrations(readTableMap({ users, token }))
}
