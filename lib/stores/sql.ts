import type { Kysely, Transaction } from 'kysely'
import { isRetryable, toOwnError } from './pg-errors.js'

/** How every store speaks to the database: errors become ours, and what surely did nothing is tried once more. */
export interface Sql {
  readonly db: Kysely<any>
  run<Result> (work: (db: Kysely<any>) => Promise<Result>): Promise<Result>
  transaction<Result> (work: (db: Transaction<any>) => Promise<Result>): Promise<Result>
}

export function createSql (db: Kysely<any>): Sql {
  async function run<Result> (work: (db: Kysely<any>) => Promise<Result>): Promise<Result> {
    try {
      return await work(db).catch((error) => isRetryable(error) ? work(db) : Promise.reject(error))
    } catch (error) {
      throw toOwnError(error)
    }
  }

  return {
    db,
    run,
    transaction: (work) => run((db) => db.transaction().execute(work))
  }
}
