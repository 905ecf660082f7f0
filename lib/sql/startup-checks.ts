import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { DATABASE_UNREACHABLE, MISSING_TABLES, STANDBY_DATABASE } from '../errors.js'
import { codeOf, isUnreachable, STANDBY, redactValues } from './errors.js'
import type { Tables } from './tables.js'

const TOKEN_COLUMNS = ['id', 'digest', 'user_id', 'created_at', 'expires_at', 'last_used_at', 'revoked_at', 'revoke_reason', 'stale_at', 'ip', 'user_agent', 'label', 'scopes']

/**
 * Reads no row, to see that the tables are there with every column in use.
 * @throws `FST_TOKEN_AUTH_MISSING_TABLES`, `FST_TOKEN_AUTH_DATABASE_UNREACHABLE`
 */
export async function checkTables (db: Kysely<any>, { users, tokens, serverKey, caches, usersView, column, map }: Tables): Promise<void> {
  const lastLogin = map.users.columns.lastLogin === null ? sql`true` : column('lastLogin')
  await check(db, sql`select 1 from ${usersView} u where false`, 'users')
  await check(db, sql`select ${lastLogin} from ${users} where false`, 'users')
  await check(db, sql`select ${sql.join(TOKEN_COLUMNS.map((name) => sql.id(name)))} from ${tokens} where false`, 'tokens')
  await check(db, sql`select value from ${serverKey} where false`, 'server key')
  await check(db, sql`select namespace, ttl_ms, seen_at from ${caches} where false`, 'caches')
}

/**
 * Refuses a standby: it repeats what the primary has committed, and a revocation may not have arrived there yet.
 * @throws `FST_TOKEN_AUTH_STANDBY_DATABASE`, `FST_TOKEN_AUTH_DATABASE_UNREACHABLE`
 */
export async function assertPrimary (db: Kysely<any>): Promise<void> {
  const { rows: [row] } = await sql<{ isStandby: boolean }>`select pg_catalog.pg_is_in_recovery() as "isStandby"`.execute(db).catch(refuseUnreachable)
  if (row!.isStandby) throw new STANDBY_DATABASE()
}

/** Asks the database for nothing. */
export async function ping (db: Kysely<any>): Promise<void> {
  await sql`select 1`.execute(db)
}

/** Rethrows it as what stops a start. */
export function refuseUnreachable (error: unknown): never {
  if (typeof (error as { statusCode?: unknown }).statusCode === 'number') throw error
  if (codeOf(error) === STANDBY) throw new STANDBY_DATABASE()
  throw isUnreachable(error) ? new DATABASE_UNREACHABLE(codeOf(error) || redactValues(error).message) : redactValues(error)
}

/** The rows of a statement that says whether a table is as expected. */
export async function check<Row> (db: Kysely<any>, statement: RawBuilder<unknown>, which: string): Promise<Row[]> {
  try {
    return (await statement.execute(db)).rows as Row[]
  } catch (error) {
    const { message } = redactValues(error)
    if (isUnreachable(error)) throw new DATABASE_UNREACHABLE(codeOf(error) || message)
    throw new MISSING_TABLES(`The ${which} table is not as expected: ${message}. ` +
      'Run "npx fastify-token-auth migrate --up", set autoMigrate: true, or map your own table with the option users')
  }
}
