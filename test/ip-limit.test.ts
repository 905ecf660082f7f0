import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from './helpers/app.js'
import { until } from './helpers/counting.js'
import { startServer } from './helpers/processes.js'
import { createRedisServer } from './helpers/redis-server.js'
import { createDatabase, redisUrl, uniqueNamespace } from './helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

const body = { username: 'nobody', password: 'wrong password' }
const limited = () => ({ ...testOptions(database.url), rateLimit: { max: 3, timeWindow: '1 minute' } })

interface From { ip?: string, headers?: Record<string, string>, url?: string, payload?: object }

async function attempt (app: FastifyInstance, { ip = '192.0.2.1', headers = {}, url = '/auth/login', payload = body }: From = {}): Promise<number> {
  return (await app.inject({ method: 'POST', url, remoteAddress: ip, headers, payload })).statusCode
}

async function attempts (app: FastifyInstance, count: number, from?: (i: number) => From): Promise<number[]> {
  const statuses: number[] = []
  for (let i = 0; i < count; i++) statuses.push(await attempt(app, from?.(i)))
  return statuses
}

t.test('too many logins from one address are answered 429 with Retry-After', async (t) => {
  const app = await createApp(t, limited())
  const call = caller(app)
  for (let i = 0; i < 3; i++) t.equal((await call('POST', '/auth/login', { body })).statusCode, 401)
  const reply = await call('POST', '/auth/login', { body })
  t.equal(reply.statusCode, 429)
  t.equal(reply.json().code, 'FST_TOKEN_AUTH_RATE_LIMITED')
  t.match(Object.keys(reply.headers).filter((name) => name.startsWith('x-ratelimit')), [], 'how much is left is not told')
  t.equal(await attempt(app, { ip: '192.0.2.2' }), 401, 'another address')
})

t.test('bodies that are refused count, and other routes don\'t', async (t) => {
  const app = await createApp(t, limited())
  const { username } = await createUser(app)
  const token = await login(app, username)
  t.same(await attempts(app, 4, () => ({ payload: {} })), [400, 400, 400, 429])
  const call = caller(app)
  for (let i = 0; i < 10; i++) t.equal((await call('GET', '/auth/me', { token })).statusCode, 200)
})

t.test('a valid token does not switch the limit off', async (t) => {
  const app = await createApp(t, limited())
  const { username } = await createUser(app)
  const authorization = `Bearer ${await login(app, username)}`
  t.same(await attempts(app, 4, () => ({ headers: { authorization } })), [401, 401, 401, 429])
})

t.test('headers that a client can forge change nothing', async (t) => {
  const app = await createApp(t, limited())
  const statuses = await attempts(app, 20, (i) => ({
    headers: { 'x-forwarded-for': `203.0.113.${i}`, forwarded: `for=203.0.113.${i}`, 'x-real-ip': `203.0.113.${i}`, 'cf-connecting-ip': `203.0.113.${i}` }
  }))
  t.equal(statuses.filter((status) => status === 429).length, 17)
})

t.test('behind a trusted proxy the client that it names counts', async (t) => {
  const app = await createApp(t, limited(), { server: { trustProxy: '192.0.2.1' } })
  t.same(await attempts(app, 5, (i) => ({ headers: { 'x-forwarded-for': `203.0.113.${i}` } })), [401, 401, 401, 401, 401])
  t.same(await attempts(app, 4, (i) => ({ headers: { 'x-forwarded-for': `203.0.113.${i}, 203.0.113.99` } })), [401, 401, 401, 429], 'what it did not write itself is not believed')
})

t.test('IPv6 counts by /64, and an IPv4 address in it as itself', async (t) => {
  const app = await createApp(t, limited())
  t.same(await attempts(app, 4, (i) => ({ ip: `2001:db8:1:2::${i + 1}` })), [401, 401, 401, 429])
  t.equal(await attempt(app, { ip: '2001:db8:1:3::1' }), 401)
  t.same([await attempt(app, { ip: '198.51.100.7' }), await attempt(app, { ip: '::ffff:198.51.100.7' }), await attempt(app, { ip: '::ffff:c633:6407' }), await attempt(app, { ip: '198.51.100.7' })], [401, 401, 401, 429])
  t.equal(await attempt(app, { ip: '::ffff:198.51.100.8' }), 401)
  t.equal(await attempt(app, { ip: 'fe80::1%eth0' }), 401)
})

t.test('other spellings of the path share the count or are not there', async (t) => {
  const app = await createApp(t, limited())
  const statuses: number[] = []
  for (const url of ['/auth/login', '/auth/%6cogin', '/auth/login?x=1', '/auth/LOGIN', '/auth//login', '/auth/login/', '/auth/login;x']) statuses.push(await attempt(app, { url }))
  t.same(statuses, [401, 401, 401, 404, 404, 404, 404])
  t.equal(await attempt(app), 429)
})

t.test('two server processes count together', async (t) => {
  const shared = {
    database: { connectionString: database.url },
    redis: { url: redisUrl() },
    cache: { namespace: uniqueNamespace() },
    autoMigrate: true,
    rateLimit: { max: 5, timeWindow: '1 minute' }
  }
  const origins = await Promise.all([startServer(t, shared), startServer(t, shared)])
  const statuses: number[] = []
  for (let i = 0; i < 8; i++) {
    const reply = await fetch(`${origins[i % 2]}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    statuses.push(reply.status)
  }
  t.same(statuses, [401, 401, 401, 401, 401, 429, 429, 429])
})

t.test('without Redis every process counts by itself, and no login is answered 500', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const app = await createApp(t, { ...limited(), redis: { url: redis.url } })
  t.same(await attempts(app, 2), [401, 401])
  await redis.kill()
  await until(async () => (await app.tokenAuth.health()).cache === 'down', 'the loss is seen')
  t.same(await attempts(app, 5), [401, 401, 401, 429, 429])
  await redis.start()
  await until(async () => (await app.tokenAuth.health()).cache === 'up', 'Redis is back')
  t.same(await attempts(app, 4), [401, 401, 401, 429])
  redis.freeze()
  t.same(await attempts(app, 2, () => ({ ip: '192.0.2.50' })), [401, 401])
  redis.thaw()
})

t.test('the host\'s own @fastify/rate-limit neither replaces nor doubles it', async (t) => {
  const app = await createApp(t, limited(), {
    async routes (app) {
      await app.register(async (scope) => {
        await scope.register(rateLimit, { max: 2, timeWindow: 60_000 })
        scope.get('/limited', async () => 'ok')
      })
    }
  })
  t.same(await attempts(app, 4), [401, 401, 401, 429])
  const fastify = (await import('fastify')).default()
  t.teardown(() => fastify.close())
  await fastify.register(rateLimit, { max: 1000, timeWindow: 60_000, skipOnError: true })
  await fastify.register((await import('../lib/index.js')).authPlugin, limited())
  const replies = await attempts(fastify, 4, () => ({ ip: '192.0.2.77' }))
  t.same(replies, [401, 401, 401, 429])
  const reply = await fastify.inject({ method: 'POST', url: '/auth/login', remoteAddress: '192.0.2.78', payload: body })
  t.equal(reply.headers['x-ratelimit-remaining'], '999', 'the host counts once, with its own numbers')
})

t.test('rateLimit: false counts nothing', async (t) => {
  const app = await createApp(t, testOptions(database.url))
  t.notOk((await attempts(app, 20)).includes(429))
  const { username } = await createUser(app)
  t.equal(await attempt(app, { payload: { username, password: PASSWORD } }), 200)
})
