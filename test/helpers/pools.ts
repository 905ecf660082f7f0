import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'
import { PreparedClient } from '../../lib/index.js'
import { readTableMap } from '../../lib/options/read.js'
import { migrateUp } from '../../lib/sql/migrations/index.js'
import { createSql } from '../../lib/sql/gateway.js'
import { createTables } from '../../lib/sql/tables.js'
import { createDatabase } from './services.js'

/** A pool that tolerates the loss of its database. It is ended when the test ends. */
export function openPool (t: Test, config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool(config)
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return pool
}

/** A separate Kysely instance for the test's own queries, closed when the test ends. */
export function openKysely (t: Test, connectionString: string): Kysely<any> {
  return new Kysely<any>({ dialect: new PostgresDialect({ pool: openPool(t, { connectionString, max: 2 }) }) })
}

/** A pool that records the text of every statement it sends. */
export function countingPool (t: Test, connectionString: string, more: pg.PoolConfig = {}): { pool: pg.Pool, statements: string[] } {
  const statements: string[] = []
  class CountingClient extends PreparedClient {
    override query (...args: any[]): any {
      if (typeof args[0] === 'string') statements.push(args[0])
      return super.query(...args)
    }
  }
  return { pool: openPool(t, { connectionString, Client: CountingClient, ...more }), statements }
}

/** A database with the plugin's tables, and the objects that stores need. It is dropped when the test ends. */
export async function openMigrated (t: Test) {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const { pool, statements } = countingPool(t, url)
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  const map = readTableMap({})
  await migrateUp(db, map)
  statements.length = 0
  return { url, pool, statements, tables: createTables(map), sql: createSql(db) }
}
