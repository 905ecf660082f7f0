import type { Kysely, Transaction } from 'kysely'
import { UNAVAILABLE } from '../errors.js'
import { toOwnError } from './errors.js'
import { createRetry } from './retry.js'
import type { RetrySettings } from './retry.js'

type Work<Db, Result> = (db: Db) => Promise<Result>

/** How every store speaks to the database: errors become ours, and what surely did nothing is tried again. */
export interface Sql {
  readonly db: Kysely<any>
  /** One statement that changes nothing, so that it is tried once more, too, if its connection breaks. */
  read<Result> (work: Work<Kysely<any>, Result>): Promise<Result>
  /** One statement. */
  run<Result> (work: Work<Kysely<any>, Result>): Promise<Result>
  /**
   * A transaction of read committed, whatever the host's default: the stores lock a row first, and the statements after it
   * must see what was committed while they waited for it.
   */
  transaction<Result> (work: Work<Transaction<any>, Result>): Promise<Result>
}

export interface SqlSettings extends Partial<RetrySettings> {
  /** Whether the database is known to be no standby. Until then it is asked for nothing. */
  isPrimary?: () => boolean
}

export function createSql (db: Kysely<any>, { timeoutMs = Infinity, connections = 10, isPrimary = () => true, ...settings }: SqlSettings = {}): Sql {
  const retry = createRetry({ timeoutMs, connections, ...settings })
  const readCommitted = <Result>(work: Work<Transaction<any>, Result>) => db.transaction().setIsolationLevel('read committed').execute(work)

  async function attempt<Result> (work: (conflicts: number) => Promise<Result>, isRead: boolean): Promise<Result> {
    if (!isPrimary()) throw new UNAVAILABLE()
    try {
      return await retry(work, isRead)
    } catch (error) {
      throw toOwnError(error)
    }
  }

  // Alone a statement has the host's default isolation. Where that makes it fail for others' commits, it could fail for ever.
  const alone = <Result>(work: Work<Kysely<any>, Result>) => (conflicts: number) => conflicts === 0 ? work(db) : readCommitted(work)

  return {
    db,
    read: (work) => attempt(alone(work), true),
    run: (work) => attempt(alone(work), false),
    transaction: (work) => attempt(() => readCommitted(work), false)
  }
}
