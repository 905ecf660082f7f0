import type { Kysely, Transaction } from 'kysely'
import { UNAVAILABLE } from '../errors.js'
import type { RevocationSubject } from '../ports.js'
import { withDeadline } from '../tools/deadline.js'
import type { Bounds } from './bounds.js'
import { toOwnError } from './errors.js'
import type { Outcomes } from './outcomes.js'
import { createRetry } from './retry.js'
import type { RetrySettings } from './retry.js'

type Work<Db, Result> = (db: Db) => Promise<Result>

export interface CallOptions {
  /** The bound that the call counts against. Its place is kept until the statement has settled, even past the deadline. */
  bound?: keyof Bounds
  /** The tokens that the call may end: if its answer is late or lost, the outcome is found out. */
  ends?: RevocationSubject
}

/**
 * The only way to the database. Every call has the deadline `lookup.timeout`, rejects with one of our own errors, and is tried again
 * where it certainly had no effect.
 */
export interface Sql {
  readonly db: Kysely<any>
  /** One statement that changes nothing, so that it is also tried again if its connection breaks. */
  read<Result> (work: Work<Kysely<any>, Result>, options?: CallOptions): Promise<Result>
  /** One statement. */
  run<Result> (work: Work<Kysely<any>, Result>, options?: CallOptions): Promise<Result>
  /**
   * A read committed transaction, whatever the default is: the stores lock a row first, and later statements
   * must see what was committed during the wait.
   */
  transaction<Result> (work: Work<Transaction<any>, Result>, options?: CallOptions): Promise<Result>
}

export interface SqlSettings extends Partial<RetrySettings> {
  /** No bound by default. */
  bounds?: Bounds
  /** By default a call that ends tokens is treated as any other. */
  outcomes?: Pick<Outcomes, 'follow'>
  /** Whether the database is known to be no standby. Until then no statement is sent. */
  isPrimary?: () => boolean
}

const TIMEOUT_MS = 60_000

/** The error of a call that missed its deadline. */
export const expired = () => new UNAVAILABLE()

export function createSql (db: Kysely<any>, { timeoutMs = TIMEOUT_MS, connections = 10, bounds, outcomes, isPrimary = () => true, ...settings }: SqlSettings = {}): Sql {
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

  function call<Result> (task: () => Promise<Result>, { bound, ends }: CallOptions = {}): Promise<Result> {
    const semaphore = bound && bounds?.[bound]
    const bounded = semaphore === undefined ? task : () => semaphore.run(task)
    if (ends !== undefined && outcomes !== undefined) return outcomes.follow(ends, bounded)
    return withDeadline(bounded(), { timeoutMs, expired })
  }

  // A single statement has the default isolation. If it fails because of other commits under that, it could fail forever.
  const alone = <Result>(work: Work<Kysely<any>, Result>) => (conflicts: number) => conflicts === 0 ? work(db) : readCommitted(work)

  return {
    db,
    read: (work, options) => call(() => attempt(alone(work), true), options),
    run: (work, options) => call(() => attempt(alone(work), false), options),
    transaction: (work, options) => call(() => attempt(() => readCommitted(work), false), options)
  }
}
