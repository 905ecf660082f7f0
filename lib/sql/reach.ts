import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { isGivenUp } from './unusable-clients.js'

const MOST_ATTEMPTS = 5

/** Runs a first statement. Repeats it on another connection where that may help, as after a pooler has refused a start-up parameter. */
export async function reach<Row> (db: Kysely<any>, statement: RawBuilder<Row> = sql<Row>`select 1`, attempts = MOST_ATTEMPTS): Promise<Row[]> {
  try {
    return (await statement.execute(db)).rows
  } catch (error) {
    if (attempts === 1 || !isGivenUp(error)) throw error
    return await reach(db, statement, attempts - 1)
  }
}
