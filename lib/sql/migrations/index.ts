import { DummyDriver, Kysely, PostgresDialect, sql } from 'kysely'
import { MISSING_TABLES, UNSUPPORTED } from '../../errors.js'
import type { TableMap } from '../../options/table-map.js'
import type { Migration } from '../../../types/migrations.js'
import { codeOf } from '../errors.js'
import { readIdType } from '../find-table.js'
import { quoteName } from '../quote.js'
import { openMigrator } from './kysely-migrator.js'
import type { MigrationInfo, Migrator } from './kysely-migrator.js'
import { createServerKeyMigration } from './server-key.js'
import { createTokensMigration } from './tokens.js'
import { createUsersMigration } from './users.js'

const USERS = '0001_token_auth_users'

/** The plugin's migrations, by name, in order. */
export function listMigrations (map: TableMap): Record<string, Migration> {
  return {
    ...(map.users.isOwn ? { [USERS]: createUsersMigration(map) } : {}),
    '0002_token_auth_tokens': createTokensMigration(map),
    '0003_token_auth_server_key': createServerKeyMigration(map)
  }
}

async function createMigrator (db: Kysely<any>, map: TableMap): Promise<Migrator> {
  // Without its schema, Kysely would find the tables of any schema.
  const schema = map.tokens.schema ?? await currentSchema(db)
  const table = `${map.tokens.table}_migration`
  const isAdopted = !map.users.isOwn && await hasExecuted(db, schema, table, USERS)
  return await openMigrator({
    db,
    provider: { getMigrations: async () => ({ ...(isAdopted ? { [USERS]: adoptedUsers } : {}), ...listMigrations(map) }) },
    // Named after the table, so that two sets of tables in one schema have a list each.
    migrationTableName: table,
    migrationLockTableName: `${table}_lock`,
    migrationTableSchema: schema
  })
}

async function currentSchema (db: Kysely<any>): Promise<string> {
  const { rows: [row] } = await sql<{ schema: string | null }>`select pg_catalog.current_schema()::text as schema`.execute(db)
  if (row!.schema === null) throw new MISSING_TABLES('No schema of the search_path exists: create it, or set token.schema and users.schema')
  return row!.schema
}

/** Whether an earlier release of the application has applied the migration. */
async function hasExecuted (db: Kysely<any>, schema: string, table: string, name: string): Promise<boolean> {
  const id = sql.id(schema, table)
  const { rows: [found] } = await sql<{ exists: string }>`select (pg_catalog.to_regclass(${`${quoteName(schema)}.${quoteName(table)}`}) is not null)::text as exists`.execute(db)
  if (found!.exists !== 'true') return false
  const { rows } = await sql`select 1 from ${id} where name = ${name}`.execute(db)
  return rows.length > 0
}

// The application began with the plugin's users table, and maps it now as its own. It is left alone.
async function refuseUsers (): Promise<never> {
  throw new UNSUPPORTED(`${USERS} created the users table that the option users maps now: it is not dropped`)
}
const adoptedUsers: Migration = { up: refuseUsers, down: refuseUsers }

/** Applies what is missing; resolves to the names of what was applied. */
export async function migrateUp (db: Kysely<any>, map: TableMap): Promise<string[]> {
  await checkUsersTable(db, map)
  return await withMigrator(db, map, async (migrator) => namesOf(await migrator.migrateToLatest()))
}

/** Reverts the latest migration. */
export async function migrateDown (db: Kysely<any>, map: TableMap): Promise<string[]> {
  return await withMigrator(db, map, async (migrator) => namesOf(await migrator.migrateDown()))
}

export async function migrationStatus (db: Kysely<any>, map: TableMap): Promise<readonly MigrationInfo[]> {
  await checkUsersTable(db, map)
  return await withMigrator(db, map, (migrator) => migrator.getMigrations())
}

// The migrations do not create it, and those that are applied do not show that it is still there.
async function checkUsersTable (db: Kysely<any>, { users }: TableMap): Promise<void> {
  if (!users.isOwn) await readIdType(db, users)
}

async function withMigrator<Result> (db: Kysely<any>, map: TableMap, work: (migrator: Migrator) => Promise<Result>): Promise<Result> {
  try {
    return await work(await createMigrator(db, map))
  } catch (error) {
    throw codeOf(error) === FORBIDDEN ? new MISSING_TABLES(`This role may not migrate the database: ${(error as Error).message}. ${RIGHTS}`) : error
  }
}

const FORBIDDEN = '42501'
const RIGHTS = 'It needs CREATE on the schema, or on the database if the schema is missing; REFERENCES on a users table of yours; and it must own the tables ' +
  'of earlier migrations. Or let the owner run "npx fastify-token-auth migrate --up", and set autoMigrate: false; see docs/storage.md#postgresql-grants'

function namesOf ({ error, results = [] }: Awaited<ReturnType<Migrator['migrateDown']>>): string[] {
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
    await migration[direction](db)
  }
  return statements
}
