import { PGlite } from '@electric-sql/pglite'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { createPGlitePool, PreparedClient } from '../lib/index.js'
import type { AuthPluginOptions } from '../lib/index.js'
import { createApp, testOptions } from './helpers/app.js'
import { openPool } from './helpers/pool.js'
import { createDatabase } from './helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

const LIMITS = { statement_timeout: 5000, lock_timeout: 2000, idle_in_transaction_session_timeout: 10_000 }

const open = (t: Test, config: pg.PoolConfig) => openPool(t, { connectionString: database.url, ...config })

/** What a server that starts over it warns of. */
async function warningsOf (t: Test, option: AuthPluginOptions['database']): Promise<string[]> {
  const warnings: string[] = []
  const stream = { write: (line: string) => { warnings.push(JSON.parse(line).msg) } }
  const app = await createApp(t, testOptions(database.url, { database: option }), { server: { logger: { level: 'warn', stream } } })
  await app.close()
  return warnings
}

const warningOf = (limits: string) => [`the connections to the database lack server-side time limits: ${limits}; see docs/options.md#database`]

t.test('a start over connections without server-side time limits warns of them, once', async (t) => {
  const all = warningOf('statement_timeout is off, lock_timeout is off, idle_in_transaction_session_timeout is off')
  const bare = open(t, {})
  t.same(await warningsOf(t, bare), all)
  t.same(await warningsOf(t, new Kysely<any>({ dialect: new PostgresDialect({ pool: bare }) })), all)
  t.same(await warningsOf(t, open(t, { ...LIMITS, lock_timeout: 0 })), warningOf('lock_timeout is off'))
  t.same(await warningsOf(t, { connectionString: database.url, statement_timeout: 0 }), warningOf('statement_timeout is off'))
})

t.test('and of those that are too long for a revocation', async (t) => {
  const long = { statement_timeout: 25_000, lock_timeout: 20_001, idle_in_transaction_session_timeout: 60_000 }
  t.same(await warningsOf(t, open(t, long)), warningOf('statement_timeout is 25000 ms, lock_timeout is 20001 ms'))
})

t.test('it does not warn where they are set, by whomever, nor of the embedded database', async (t) => {
  const limited = open(t, { ...LIMITS, Client: PreparedClient })
  t.same(await warningsOf(t, limited), [])
  t.same(await warningsOf(t, new Kysely<any>({ dialect: new PostgresDialect({ pool: limited }) })), [])
  t.same(await warningsOf(t, open(t, { options: '-c statement_timeout=5s -c lock_timeout=20s -c idle_in_transaction_session_timeout=1min' })), [])
  t.same(await warningsOf(t, { connectionString: database.url }), [])

  const pglite = await PGlite.create()
  t.teardown(() => pglite.close())
  const embedded = createPGlitePool(pglite)
  t.same(await warningsOf(t, embedded), [])
  t.same(await warningsOf(t, new Kysely<any>({ dialect: new PostgresDialect({ pool: embedded }) })), [])
})

t.test('limits that cannot be read stop no start', async (t) => {
  class RefusingClient extends pg.Client {
    override query (...args: any[]): any {
      if (String(args[0]).includes('pg_settings')) return Promise.reject(new Error('permission denied'))
      return (super.query as any)(...args)
    }
  }
  t.same(await warningsOf(t, open(t, { Client: RefusingClient })), [])
})
