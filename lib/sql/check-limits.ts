import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { withDeadline } from '../tools/deadline.js'
import type { DeadlineSettings } from '../tools/deadline.js'
import type { Logger } from '../ports.js'

interface Setting { name: string, setting: string }

/** The longest for a statement or a lock: two of them, and the pauses between, fit into the time that a revocation's transaction is given. */
const MOST_MS = 20_000

/**
 * Warns of settings on the connections that revocations count on: time limits that the server does not enforce, or only late, commits that
 * a crash takes back, and transactions that may not write. Whatever happens to the question, it stops no start.
 */
export async function checkLimits (db: Kysely<any>, logger: Logger, deadline: DeadlineSettings): Promise<void> {
  const settings = await withDeadline(readSettings(db), deadline).catch(() => [])
  const weak = settings.filter(isWeak).map(({ name, setting }) => `${name} is ${setting === '0' ? 'off' : `${setting} ms`}`)
  const is = (name: string, value: string) => settings.some((one) => one.name === name && one.setting === value)
  if (weak.length > 0) logger.warn({}, `the connections to the database lack server-side time limits: ${weak.join(', ')}; see docs/options.md#database`)
  if (is('synchronous_commit', 'off')) logger.warn({}, 'synchronous_commit is off: after a crash of the database a revoked token may be live again; see docs/options.md#database')
  if (is('transaction_read_only', 'on')) logger.warn({}, 'the connections to the database are read-only: logins and revocations are answered 503; see docs/options.md#database')
}

// A standalone backend, such as PGlite, has one session: nobody else's transaction can hold it up.
async function readSettings (db: Kysely<any>): Promise<Setting[]> {
  const { rows } = await sql<Setting>`select name, setting from pg_catalog.pg_settings
    where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'synchronous_commit', 'transaction_read_only')
    and not exists (select from pg_catalog.pg_stat_activity where pid = pg_backend_pid() and backend_type = 'standalone backend')
    order by name desc`.execute(db)
  return rows
}

function isWeak ({ name, setting }: Setting): boolean {
  const ms = name.endsWith('_timeout') ? Number(setting) : 1
  return ms === 0 || (ms > MOST_MS && name !== 'idle_in_transaction_session_timeout')
}
