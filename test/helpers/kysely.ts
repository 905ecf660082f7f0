import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'

/** The test's own eyes on a database, closed with it. */
export function openKysely (t: Test, connectionString: string): Kysely<any> {
  const pool = new pg.Pool({ connectionString, max: 2 })
  pool.on('error', () => {})
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  t.teardown(() => db.destroy())
  return db
}
