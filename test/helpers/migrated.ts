import { Kysely, PostgresDialect } from 'kysely'
import type { Test } from 'tap'
import { readTableMap } from '../../lib/options/read.js'
import { migrateUp } from '../../lib/sql/migrations/index.js'
import { createSql } from '../../lib/sql/gateway.js'
import { createTables } from '../../lib/sql/tables.js'
import { countingPool } from './counting.js'
import { createDatabase } from './services.js'

/** A database with the plugin's tables, and what the stores are made of; dropped with the test. */
export async function openMigrated (t: Test) {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const { pool, statements } = countingPool(t, url)
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  const map = readTableMap({})
  await migrateUp(db, map)
  statements.length = 0
  return { pool, statements, tables: createTables(map), sql: createSql(db) }
}
