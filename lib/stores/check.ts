import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { DATABASE_UNREACHABLE, MISSING_TABLES } from '../errors.js'
import { codeOf, isUnreachable, withoutValues } from './pg-errors.js'
import type { Tables } from './tables.js'

const TOKEN_COLUMNS = ['id', 'digest', 'user_id', 'created_at', 'expires_at', 'last_used_at', 'revoked_at', 'revoke_reason', 'ip', 'user_agent', 'label', 'scopes']

/**
 * Reads no row, to see that the tables are there with every column in use.
 * @throws `FST_TOKEN_AUTH_MISSING_TABLES`, `FST_TOKEN_AUTH_DATABASE_UNREACHABLE`
 */
export async function checkTables (db: Kysely<any>, { users, tokens, secret, usersView, column, map }: Tables): Promise<void> {
  const lastLogin = map.users.columns.lastLogin === null ? sql`true` : column('lastLogin')
  await check(db, sql`select 1 from ${usersView} u where false`, 'users')
  await check(db, sql`select ${lastLogin} from ${users} where false`, 'users')
  await check(db, sql`select ${sql.join(TOKEN_COLUMNS.map((name) => sql.id(name)))} from ${tokens} where false`, 'tokens')
  await check(db, sql`select value from ${secret} where false`, 'secret')
}

/** Asks the database for nothing. */
export async function ping (db: Kysely<any>): Promise<void> {
  await sql`select 1`.execute(db)
}

/** The rows of a statement that says whether a table is as expected. */
export async function check<Row> (db: Kysely<any>, statement: RawBuilder<unknown>, which: string): Promise<Row[]> {
  try {
    return (await statement.execute(db)).rows as Row[]
  } catch (error) {
    const { message } = withoutValues(error)
    if (isUnreachable(error)) throw new DATABASE_UNREACHABLE(codeOf(error) || message)
    throw new MISSING_TABLES(`The ${which} table is not as expected: ${message}. ` +
      'Run "npx fastify-token-auth migrate --up", set autoMigrate: true, or map your own table with the option users')
  }
}
