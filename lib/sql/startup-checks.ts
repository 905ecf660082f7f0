import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { MISSING_TABLES } from '../errors.js'
import type { Logger } from '../ports.js'
import { asStartError, codeOf, isUnreachable, redactValues } from './errors.js'
import { readIdType, suggestName } from './find-table.js'
import type { Tables } from './tables.js'

const TOKEN_COLUMNS = ['id', 'digest', 'user_id', 'created_at', 'expires_at', 'last_used_at', 'revoked_at', 'revoke_reason', 'stale_at', 'ip', 'user_agent', 'label', 'scopes']

/**
 * Checks that the tables are there with every column in use. Reads no row.
 * @throws `FST_TOKEN_AUTH_MISSING_TABLES`, `FST_TOKEN_AUTH_DATABASE_UNREACHABLE`
 */
export async function checkTables (db: Kysely<any>, { users, tokens, serverKey, caches, members, usersView, column, map }: Tables): Promise<void> {
  const lastLogin = map.users.columns.lastLogin === null ? sql`true` : column('lastLogin')
  if (!map.users.isOwn) await readIdType(db, map.users).catch((error) => { throw asStartError(error) })
  await check(db, sql`select 1 from ${usersView} u where false`, 'users', () => suggestName(db, map.users, 'users'))
  await check(db, sql`select ${lastLogin} from ${users} where false`, 'users')
  await check(db, sql`select ${sql.join(TOKEN_COLUMNS.map((name) => sql.id(name)))} from ${tokens} where false`, 'tokens', () => suggestName(db, map.tokens, 'token'))
  await check(db, sql`select value from ${serverKey} where false`, 'server key')
  await check(db, sql`select namespace, ttl_ms, seen_at from ${caches} where false`, 'caches')
  await check(db, sql`select id, lease_ms, is_expelled from ${members} where false`, 'members')
}

/** Codes of a schema and of a table that is not there. */
const UNDEFINED_TABLE = new Set(['3F000', '42P01'])
const UNDEFINED_COLUMN = '42703'
const FORBIDDEN = '42501'

const MIGRATE = '. Run "npx fastify-token-auth migrate --up", set autoMigrate: true, or map your own table with the option users, in commands with --users-table'

async function adviceOf (code: string, which: string, suggest: () => Promise<string>): Promise<string> {
  if (code === FORBIDDEN) return '. Grant this role the rights in docs/storage.md#postgresql-grants'
  if (UNDEFINED_TABLE.has(code)) return MIGRATE + await suggest()
  if (code !== UNDEFINED_COLUMN) return ''
  // No migration adds a column to a users table that exists.
  return which === 'users' ? '. Add the column, or correct users.columns, users.select or users.activeWhen' : MIGRATE
}

const noName = async () => ''

/** Runs a statement that fails if a table is not as expected. Resolves to its rows. `suggest` names another table, if this one is missing. */
export async function check<Row> (db: Kysely<any>, statement: RawBuilder<unknown>, which: string, suggest = noName): Promise<Row[]> {
  try {
    return (await statement.execute(db)).rows as Row[]
  } catch (error) {
    if (isUnreachable(error)) throw asStartError(error)
    throw new MISSING_TABLES(`The ${which} table is not as expected: ${redactValues(error).message}${await adviceOf(codeOf(error), which, suggest)}`)
  }
}

/** Warns of a database that cannot store every character. */
export async function checkEncoding (db: Kysely<any>, logger: Logger): Promise<void> {
  const rows = await check<{ encoding: string }>(db, sql`select current_setting('server_encoding') as encoding`, 'users')
  const { encoding } = rows[0]!
  if (encoding !== 'UTF8') logger.warn({}, `the database's encoding is ${encoding}, not UTF8: usernames with characters that it cannot store are refused; see docs/options.md#database`)
}

interface Setting { name: string, setting: string, role: string }

/** The longest timeout of a statement or a lock: two of them, and the pauses between, fit into the time of a revocation's transaction. */
const MOST_MS = 20_000

/**
 * Warns of settings that revocations depend on: time limits that the server does not enforce, or only late, commits that a crash takes back,
 * and transactions that may not write. A failure to read them stops no start.
 */
export async function checkLimits (db: Kysely<any>, logger: Logger): Promise<void> {
  const settings = await readSettings(db).catch(() => [])
  const weak = settings.filter(isWeak).map(({ name, setting }) => `${name} is ${setting === '0' ? 'off' : `${setting} ms`}`)
  const is = (name: string, value: string) => settings.some((one) => one.name === name && one.setting === value)
  if (weak.length > 0) logger.warn({}, `the connections to the database lack server-side time limits: ${weak.join(', ')}; set them for the role, as in "alter role ${settings[0]!.role} set statement_timeout = '5s'"; see docs/production.md#pgbouncer`)
  if (is('synchronous_commit', 'off')) logger.warn({}, 'synchronous_commit is off: after a crash of the database a revoked token may be live again; see docs/options.md#database')
  if (is('transaction_read_only', 'on')) logger.warn({}, 'the connections to the database are read-only: logins and revocations are answered 503; see docs/options.md#database')
}

// A standalone backend, such as PGlite, has one session: no other transaction can delay it.
async function readSettings (db: Kysely<any>): Promise<Setting[]> {
  const { rows } = await sql<Setting>`select name, setting, pg_catalog.quote_ident(current_user) as role from pg_catalog.pg_settings
    where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'synchronous_commit', 'transaction_read_only')
    and not exists (select from pg_catalog.pg_stat_activity where pid = pg_backend_pid() and backend_type = 'standalone backend')
    order by name desc`.execute(db)
  return rows
}

function isWeak ({ name, setting }: Setting): boolean {
  const ms = name.endsWith('_timeout') ? Number(setting) : 1
  return ms === 0 || (ms > MOST_MS && name !== 'idle_in_transaction_session_timeout')
}
