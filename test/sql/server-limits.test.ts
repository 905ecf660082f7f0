import { PGlite } from '@electric-sql/pglite'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { createPGlitePool, PreparedClient } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { createApp, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { openPool } from '../helpers/pools.js'

const database = await createDatabase()
t.teardown(database.drop)

const LIMITS = { statement_timeout: 5000, lock_timeout: 2000, idle_in_transaction_session_timeout: 10_000 }

const open = (t: Test, config: pg.PoolConfig) => openPool(t, { connectionString: database.url, ...config })

/** The warnings that a server logs when it starts with this database. */
async function warningsOf (t: Test, option: AuthPluginOptions['database'], more: Partial<AuthPluginOptions> = {}): Promise<string[]> {
  const warnings: string[] = []
  const stream = { write: (line: string) => { warnings.push(JSON.parse(line).msg) } }
  const app = await createApp(t, testOptions(database.url, { database: option, ...more }), { server: { logger: { level: 'warn', stream } } })
  await app.close()
  return warnings
}

const warningOf = (limits: string) => [`the connections to the database lack server-side time limits: ${limits}; set them for the role, as in "alter role postgres set statement_timeout = '5s'"; see docs/production.md#pgbouncer`]

t.test('a start warns once about connections without server-side time limits', async (t) => {
  const all = warningOf('statement_timeout is off, lock_timeout is off, idle_in_transaction_session_timeout is off')
  const bare = open(t, {})
  t.same(await warningsOf(t, bare), all)
  t.same(await warningsOf(t, new Kysely<any>({ dialect: new PostgresDialect({ pool: bare }) })), all)
  t.same(await warningsOf(t, open(t, { ...LIMITS, lock_timeout: 0 })), warningOf('lock_timeout is off'))
  t.same(await warningsOf(t, { connectionString: database.url, statement_timeout: 0 }), warningOf('statement_timeout is off'))
})

t.test('a start warns about server-side time limits that are too long for a revocation', async (t) => {
  const long = { statement_timeout: 25_000, lock_timeout: 20_001, idle_in_transaction_session_timeout: 60_000 }
  t.same(await warningsOf(t, open(t, long)), warningOf('statement_timeout is 25000 ms, lock_timeout is 20001 ms'))
})

t.test('a start warns about connections with synchronous_commit off, and about read-only ones', async (t) => {
  const optionsOf = (options: string) => open(t, { ...LIMITS, options })
  const lost = ['synchronous_commit is off: after a crash of the database a revoked token may be live again; see docs/options.md#database']
  const readOnly = ['the connections to the database are read-only: logins and revocations are answered 503; see docs/options.md#database']
  t.same(await warningsOf(t, optionsOf('-c synchronous_commit=off')), lost)
  t.same(await warningsOf(t, { connectionString: database.url, options: '-c synchronous_commit=off' }), lost)
  for (const value of ['local', 'remote_write', 'on', 'remote_apply']) t.same(await warningsOf(t, optionsOf(`-c synchronous_commit=${value}`)), [], value)
  t.same(await warningsOf(t, optionsOf('-c default_transaction_read_only=on'), { autoMigrate: false }), readOnly)
})

t.test('a start does not warn if the limits are set anywhere, nor about the embedded database', async (t) => {
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

t.test('a failure to read the limits does not stop the start', async (t) => {
  class RefusingClient extends pg.Client {
    override query (...args: any[]): any {
      if (String(args[0]).includes('pg_settings')) return Promise.reject(new Error('permission denied'))
      return (super.query as any)(...args)
    }
  }
  t.same(await warningsOf(t, open(t, { Client: RefusingClient })), [])
})
