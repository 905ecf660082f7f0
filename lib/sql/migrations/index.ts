import { DummyDriver, Kysely, Migrator, PostgresDialect } from 'kysely'
import type { Migration, MigrationInfo, MigrationResultSet } from 'kysely'
import type { TableMap } from '../../options/table-map.js'
import { createServerKeyMigration } from './server-key.js'
import { createTokensMigration } from './tokens.js'
import { createUsersMigration } from './users.js'

/** The plugin's migrations, by name, in order. */
export function listMigrations (map: TableMap): Record<string, Migration> {
  return {
    ...(map.users.isOwn ? { '0001_token_auth_users': createUsersMigration(map) } : {}),
    '0002_token_auth_tokens': createTokensMigration(map),
    '0003_token_auth_server_key': createServerKeyMigration(map)
  }
}

/** Kysely's Migrator takes an advisory lock, so that several processes can migrate at once. */
function createMigrator (db: Kysely<any>, map: TableMap): Migrator {
  return new Migrator({
    db,
    provider: { getMigrations: async () => listMigrations(map) },
    // Named after the table, so that two sets of tables in one schema have a list each.
    migrationTableName: `${map.tokens.table}_migration`,
    migrationLockTableName: `${map.tokens.table}_migration_lock`,
    ...(map.tokens.schema === null ? {} : { migrationTableSchema: map.tokens.schema })
  })
}

/** Applies what is missing; resolves to the names of what was applied. */
export async function migrateUp (db: Kysely<any>, map: TableMap): Promise<string[]> {
  return namesOf(await createMigrator(db, map).migrateToLatest())
}

/** Reverts the latest migration. */
export async function migrateDown (db: Kysely<any>, map: TableMap): Promise<string[]> {
  return namesOf(await createMigrator(db, map).migrateDown())
}

export async function migrationStatus (db: Kysely<any>, map: TableMap): Promise<readonly MigrationInfo[]> {
  return await createMigrator(db, map).getMigrations()
}

function namesOf ({ error, results = [] }: MigrationResultSet): string[] {
  if (error !== undefined) throw error
  return results.map(({ migrationName }) => migrationName)
}

/** Compiles statements for PostgreSQL without sending them. */
class DisconnectedDialect extends PostgresDialect {
  override createDriver () {
    return new DummyDriver()
  }
}

/** The statements that `migrateUp` (or all the way down) would run on an empty database, without one. */
export async function printMigrations (map: TableMap, direction: 'up' | 'down'): Promise<string[]> {
  const statements: string[] = []
  const dialect = new DisconnectedDialect({ pool: undefined as never })
  const db = new Kysely<any>({ dialect, log: ({ query }) => { statements.push(query.sql) } })
  const migrations = Object.values(listMigrations(map))
  for (const migration of direction === 'up' ? migrations : migrations.reverse()) {
    await migration[direction]?.(db)
  }
  return statements
}
