import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import pg from 'pg'
import t from 'tap'
import { authPlugin } from '../../lib/index.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool } = countingPool(t, database.url)
const app = await createApp(t, testOptions(database.url))
const bytesOf = (token: string) => Buffer.from(digestOf(token), 'base64url')

t.test('a statement that fails with a deadlock is retried', async (t) => {
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  const session = await pool.connect()
  await session.query('begin')
  await session.query('update auth_tokens set label = \'held\' where digest = $1', [bytesOf(token)])
  // The deletion locks the user's row and waits for the token's; the session below does the reverse. The deletion began to wait first, so it loses.
  const deleted = app.tokenAuth.deleteUser(id)
  await until(async () => (await pool.query('select 1 from pg_stat_activity where wait_event_type = \'Lock\' and datname = current_database()')).rows.length > 0, 'the deletion waits')
  await session.query('set deadlock_timeout = \'60s\'')
  await session.query('update users set last_login = now() where id = $1', [id])
  await session.query('commit')
  session.release()
  t.equal(await deleted, true)
  t.equal((await caller(app)('GET', '/protected', { token })).statusCode, 401)
})

t.test('a request whose statement hangs is answered in time, and does not delay the shutdown', async (t) => {
  const host = await createApp(t, testOptions(database.url, { lookup: { timeout: '1s' } }))
  // From a server with a longer time limit.
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  const session = await pool.connect()
  await session.query('begin; lock table auth_tokens')
  const reply = await caller(host)('GET', '/auth/me', { token })
  t.match(reply.json(), { statusCode: 503, code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  await t.rejects(host.tokenAuth.listSessions(id), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  await t.rejects(host.tokenAuth.revokeUser(id), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  t.equal((await host.tokenAuth.health()).database, 'up', 'only the table is locked')
  await host.close()
  await session.query('rollback')
  session.release()
})

t.test('a revocation that exceeds its time limit but commits later still reaches the cache', async (t) => {
  const host = await createApp(t, testOptions(database.url, { lookup: { timeout: '1s' } }))
  // From a server with a longer time limit.
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  t.equal((await caller(host)('GET', '/protected', { token })).statusCode, 200)
  const session = await pool.connect()
  await session.query('begin')
  await session.query('update auth_tokens set label = \'held\' where user_id = $1', [id])
  await t.rejects(host.tokenAuth.revokeUser(id), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  await session.query('commit')
  session.release()
  await until(async () => (await caller(host)('GET', '/protected', { token })).statusCode === 401, 'the token is refused')
})

t.test('lookups beyond the queue limit are answered 503, never 401', async (t) => {
  const host = await createApp(t, testOptions(database.url, { lookup: { concurrency: 1, queue: 1, maxWait: '10s', timeout: '20s' } }))
  const { username } = await createUser(host)
  const tokens = [await login(host, username), await login(host, username), await login(host, username)]
  const session = await pool.connect()
  await session.query('begin; lock table auth_tokens')
  const replies = tokens.map(async (token) => await caller(host)('GET', '/auth/me', { token }))
  const refused = await Promise.race(replies)
  t.match(refused.json(), { statusCode: 503, code: 'FST_TOKEN_AUTH_OVERLOADED' })
  await session.query('rollback')
  session.release()
  t.same((await Promise.all(replies)).map(({ statusCode }) => statusCode).sort(), [200, 200, 503])
})

t.test('health answers in time while the database hangs', async (t) => {
  const one = new pg.Pool({ connectionString: database.url, max: 1 })
  t.teardown(() => one.end())
  const host = await createApp(t, testOptions(database.url, { database: one, lookup: { timeout: '1s' } }))
  const held = await one.connect()
  t.equal((await host.tokenAuth.health()).database, 'down')
  held.release()
  await until(async () => (await host.tokenAuth.health()).database === 'up', 'it answers again')
})

t.test('a database that accepts connections and never answers is reported as unreachable', async (t) => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const connectionString = `postgres://x@127.0.0.1:${(silent.address() as AddressInfo).port}/x`
  for (const autoMigrate of [true, false]) {
    const host = Fastify()
    await t.rejects(async () => await host.register(authPlugin, { database: { connectionString, connectionTimeoutMillis: 100 }, autoMigrate }), { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE', message: /tim/ })
    await host.close()
  }
})
