import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { withDeadline } from '../concurrency/deadline.js'
import type { DeadlineSettings } from '../concurrency/deadline.js'
import type { Logger } from '../../types/ports.js'

interface Limit { name: string, setting: string }

/** The longest for a statement or a lock: two of them, and the pauses between, fit into the time that a revocation's transaction is given. */
const MOST_MS = 20_000

/**
 * Warns of time limits that the server does not enforce on the connections, or only late: revocations count on them.
 * Whatever happens to the question, it stops no start.
 */
export async function checkLimits (db: Kysely<any>, logger: Logger, deadline: DeadlineSettings): Promise<void> {
  const limits = await withDeadline(readLimits(db), deadline).catch(() => [])
  const weak = limits.filter(isWeak).map(({ name, setting }) => `${name} is ${setting === '0' ? 'off' : `${setting} ms`}`)
  if (weak.length > 0) logger.warn({}, `the connections to the database lack server-side time limits: ${weak.join(', ')}; see docs/options.md#database`)
}

// A standalone backend, such as PGlite, has one session: nobody else's transaction can hold it up.
async function readLimits (db: Kysely<any>): Promise<Limit[]> {
  const { rows } = await sql<Limit>`select name, setting from pg_catalog.pg_settings
    where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')
    and not exists (select from pg_catalog.pg_stat_activity where pid = pg_backend_pid() and backend_type = 'standalone backend')
    order by name desc`.execute(db)
  return rows
}

function isWeak ({ name, setting }: Limit): boolean {
  const ms = Number(setting)
  return ms === 0 || (ms > MOST_MS && name !== 'idle_in_transaction_session_timeout')
}
