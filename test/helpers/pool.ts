import pg from 'pg'
import type { Test } from 'tap'

/** A pool that outlives the database it is connected to; ended with the test. */
export function openPool (t: Test, config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool(config)
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return pool
}
