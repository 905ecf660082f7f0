import type { Kysely, Transaction } from 'kysely'
import { isLost, isRetryable, toOwnError } from './pg-errors.js'

type Work<Db, Result> = (db: Db) => Promise<Result>

/** How every store speaks to the database: errors become ours, and what surely did nothing is tried once more. */
export interface Sql {
  readonly db: Kysely<any>
  /** What changes nothing, so that it is tried once more, too, if its connection breaks. */
  read<Result> (work: Work<Kysely<any>, Result>): Promise<Result>
  run<Result> (work: Work<Kysely<any>, Result>): Promise<Result>
  transaction<Result> (work: Work<Transaction<any>, Result>): Promise<Result>
}

export function createSql (db: Kysely<any>): Sql {
  async function attempt<Result> (work: Work<Kysely<any>, Result>, isWorthAnother: (error: unknown) => boolean): Promise<Result> {
    try {
      return await work(db).catch((error) => isWorthAnother(error) ? work(db) : Promise.reject(error))
    } catch (error) {
      throw toOwnError(error)
    }
  }

  return {
    db,
    read: (work) => attempt(work, (error) => isRetryable(error) || isLost(error)),
    run: (work) => attempt(work, isRetryable),
    transaction: (work) => attempt((db) => db.transaction().execute(work), isRetryable)
  }
}
