import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { argon2id, bcrypt, recaptcha } from '../../../lib/index.js'
import { caller } from '../../helpers/app.js'
import { exercise, format, leavesNothing } from './leaving.js'
import type { Setup } from './leaving.js'
import { countListeners } from '../../helpers/leftovers.js'
import { createPostgresServer, noPostgres } from '../../helpers/postgres-server.js'
import { freePort } from '../../helpers/ports.js'
import { createDatabase, redisUrl } from '../../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

/** A captcha provider that accepts every answer. */
async function startProvider (t: Test): Promise<string> {
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'application/json', connection: 'close' })
      .end(JSON.stringify({ success: true, challenge_ts: new Date().toISOString(), hostname: 'example.com' }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

t.test('a server leaves no handle, timer, thread, connection, listener or lasting key after close()', async (t) => {
  // fetch and similar functions create process-wide resources on first use.
  const url = await startProvider(t)
  await (await fetch(url)).text()

  const setups: Record<string, Setup> = {
    'with Redis': {},
    'with a near cache': { cache: { near: true } },
    'in one process': { redis: undefined as never },
    'with bcrypt in threads': { hasher: bcrypt({ cost: 4, threads: 2 }) },
    'with argon2id': { hasher: argon2id({ memoryCost: 16 }) },
    'with an idle limit': { token: { idleTtl: '1m', touchInterval: 50 } }
  }
  for (const [name, setup] of Object.entries(setups)) await t.test(name, async (t) => await leavesNothing(t, database.url, setup))

  await t.test('with a captcha', async (t) => {
    await leavesNothing(t, database.url, { captcha: recaptcha({ secret: 'secret', url }) }, async (app) => await exercise(app, true))
  })

  await t.test('with neither Redis nor PostgreSQL available', async (t) => {
    const port = await freePort()
    const away = { database: { host: '127.0.0.1', port, user: 'nobody' }, redis: { url: `redis://127.0.0.1:${port}` }, cache: { near: true }, start: 'degraded' as const }
    await leavesNothing(t, database.url, away, async (app) => {
      const { statusCode } = await caller(app)('GET', '/protected', { token: format.create() })
      t.equal(statusCode, 503)
    })
  })

  await t.test('with a PostgreSQL that hangs', { skip: noPostgres }, async (t) => {
    const postgres = await createPostgresServer(t)
    await postgres.start()
    const hanging = { database: { connectionString: postgres.url }, lookup: { timeout: '5s' } }
    await leavesNothing(t, database.url, hanging, async (app) => {
      await exercise(app)
      await postgres.freeze()
      const { statusCode } = await caller(app)('GET', '/protected', { token: format.create() })
      t.equal(statusCode, 503)
    })
  })
})

t.test('the host\'s own clients stay unchanged', async (t) => {
  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  await redis.ping()
  // Its only connection is open and stays open.
  const pool = new pg.Pool({ connectionString: database.url, max: 1, idleTimeoutMillis: 0 })
  t.teardown(() => pool.end())
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  const client = await pool.connect()
  client.release()
  const listeners = () => countListeners({ redis, pool, client: client as unknown as EventEmitter })
  const before = listeners()

  await t.test('a Kysely instance and a Redis client', async (t) => {
    for (let i = 0; i < 3; i++) await leavesNothing(t, database.url, { database: db, redis })
    t.same(listeners(), before)
  })

  // A connection that breaks without an error listener would end the process, whether idle or checked out.
  await t.test('a pool and each of its connections keep one listener per event, however many servers used it', async (t) => {
    for (let i = 0; i < 3; i++) await leavesNothing(t, database.url, { database: pool, redis })
    t.same(listeners(), { ...before, 'pool: acquire': 2, 'pool: connect': 1, 'pool: error': 1, 'pool: release': 1, 'client: error': (before['client: error'] ?? 0) + 1 })
  })
  t.equal(await redis.ping(), 'PONG')
  t.equal((await pool.query('select 1 as one')).rows[0].one, 1)
})
