import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import { addressKey, clientAddress } from '../../lib/tools/client-address.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { startServer } from '../helpers/processes.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { freePort } from '../helpers/ports.js'
import { createDatabase, query, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { logTo } from '../helpers/start.js'
import { countingPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)

const body = { username: 'nobody', password: 'wrong password' }
// Long enough that Redis does not time out on a busy machine. Only this limit is tested.
const redis = { url: redisUrl(), commandTimeout: 30_000 }
const limited = () => ({ ...testOptions(database.url, { redis }), accountLimit: false as const, rateLimit: { max: 3, timeWindow: '1 minute' } })

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
  t.match(Object.keys(reply.headers).filter((name) => name.startsWith('x-ratelimit')), [], 'the remaining count is not sent')
  t.equal(await attempt(app, { ip: '192.0.2.2' }), 401, 'another address')
})

t.test('requests with invalid bodies count, and requests to other routes don\'t', async (t) => {
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
  const FORGED = ['a', '', 'x'.repeat(10_000), '1.2.3.4:80', '[::1]', '[2001:db8::1]:443', '203.0.113.7, 203.0.113.8', 'for=203.0.113.7;proto=https', 'unknown', '::ffff:203.0.113.7', '%']
  const app = await createApp(t, limited())
  const statuses = await attempts(app, 300, (i) => {
    const value = FORGED[i] ?? `203.0.${i >> 8}.${i & 255}`
    return { headers: { 'x-forwarded-for': value, forwarded: `for=${value}`, 'x-real-ip': value, 'cf-connecting-ip': value, 'true-client-ip': value, 'x-client-ip': value } }
  })
  t.same([statuses.slice(0, 3), statuses.filter((status) => status === 429).length], [[401, 401, 401], 297])
  t.equal(await attempt(app, { ip: '192.0.2.2' }), 401, 'another peer')
})

t.test('fields of the body change nothing', async (t) => {
  const app = await createApp(t, limited())
  const payloads = [{ ...body, ip: '203.0.113.1' }, { ...body, captchaToken: 'x' }, { username: 'another', password: 'x' }, body, { ...body, id: 1 }]
  t.same(await attempts(app, 5, (i) => ({ payload: payloads[i]! })), [400, 400, 401, 429, 429])
})

t.test('behind a trusted proxy the limit applies to the client address that the proxy reports', async (t) => {
  const app = await createApp(t, limited(), { server: { trustProxy: '192.0.2.1' } })
  t.same(await attempts(app, 5, (i) => ({ headers: { 'x-forwarded-for': `203.0.113.${i}` } })), [401, 401, 401, 401, 401])
  t.same(await attempts(app, 4, (i) => ({ headers: { 'x-forwarded-for': `203.0.113.${i}, 203.0.113.99` } })), [401, 401, 401, 429], 'addresses that the proxy did not add are ignored')
})

t.test('clients for which a trusted proxy reports no valid address share one count', async (t) => {
  const app = await createApp(t, limited(), { server: { trustProxy: true } })
  const names = ['a', 'x'.repeat(10_000), '1.2.3.4:http', '[::1', '1.2.3.4.5', '2001:db8::g']
  t.same(await attempts(app, 6, (i) => ({ headers: { 'x-forwarded-for': names[i]! } })), [401, 401, 401, 429, 429, 429])
})

t.test('1000 addresses of one /64 share a count, and another /64 has its own', async (t) => {
  const app = await createApp(t, limited())
  const statuses = await attempts(app, 1000, (i) => ({ ip: `2001:db8:1:2:${i.toString(16)}::${(i * 7919 % 65_536).toString(16)}` }))
  t.same([statuses.slice(0, 3), statuses.filter((status) => status === 429).length], [[401, 401, 401], 997])
  t.equal(await attempt(app, { ip: '2001:DB8:1:2:0:0:0:1' }), 429, 'in another spelling')
  t.equal(await attempt(app, { ip: '2001:db8:1:3::1' }), 401)
})

t.test('an IPv4 address and its IPv4-mapped IPv6 spellings share a count', async (t) => {
  const app = await createApp(t, limited())
  const spellings = ['198.51.100.7', '::ffff:198.51.100.7', '::ffff:c633:6407', '0:0:0:0:0:FFFF:C633:6407', '198.51.100.7']
  t.same(await attempts(app, 5, (i) => ({ ip: spellings[i]! })), [401, 401, 401, 429, 429])
  t.equal(await attempt(app, { ip: '::ffff:198.51.100.8' }), 401, 'another IPv4 address')
  t.equal(await attempt(app, { ip: '2001:db8::198.51.100.7' }), 401, 'an IPv6 address that only ends so')
  t.equal(await attempt(app, { ip: 'fe80::1%eth0' }), 401)
})

t.test('an address has one normalized spelling and one key', async (t) => {
  const kept: Record<string, string | null> = {
    '192.0.2.1': '192.0.2.1',
    '::ffff:192.0.2.1': '192.0.2.1',
    '::ffff:c000:201': '192.0.2.1',
    '2001:DB8::192.0.2.1': '2001:db8::c000:201',
    'fe80::1%eth0': 'fe80::1',
    '192.0.2.1:80': '192.0.2.1',
    '[::1]': '::1',
    '[2001:db8::1]:443': '2001:db8::1',
    '192.0.2.1:': null,
    '192.0.2.1:80:80': null,
    '[192.0.2.1': null,
    '999.0.2.1:80': null,
    a: null,
    '': null
  }
  for (const [given, address] of Object.entries(kept)) t.equal(clientAddress(given), address, given)
  t.equal(clientAddress(undefined), null)
  t.same([addressKey('::ffff:192.0.2.1'), addressKey('2001:db8:1:2:3::4%eth0'), addressKey('a'), addressKey(undefined)], ['192.0.2.1', '2001:db8:1:2::', 'none', 'none'])
})

t.test('a session stores an IPv4-mapped address as IPv4', async (t) => {
  const app = await createApp(t, testOptions(database.url))
  const { username, id } = await createUser(app)
  t.equal(await attempt(app, { ip: '::ffff:c000:201', payload: { username, password: PASSWORD } }), 200)
  t.match(await app.tokenAuth.listSessions(id), [{ ip: '192.0.2.1' }])
})

t.test('other spellings of the path share the count or are answered 404', async (t) => {
  const spellings = ['/auth/login', '/auth/%6cogin', '/auth/login?x=1', '/auth/LOGIN', '/auth//login', '//auth/login', '/auth/login/', '/auth/login;x', '/auth;x/login', '/auth/login%2f', '/auth%2flogin', '/auth/login/x']
  const hosts: [FastifyServerOptions, number[]][] = [
    [{}, [401, 401, 401, 404, 404, 404, 404, 404, 404, 404, 404, 404]],
    [{ routerOptions: { caseSensitive: false, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true } }, [401, 401, 401, 429, 429, 429, 429, 404, 404, 404, 404, 404]],
    [{ routerOptions: { useSemicolonDelimiter: true } as object }, [401, 401, 401, 404, 404, 404, 404, 429, 404, 404, 404, 404]]
  ]
  for (const [server, expected] of hosts) {
    const app = await createApp(t, limited(), { server })
    const statuses = await attempts(app, spellings.length, (i) => ({ url: spellings[i]! }))
    t.same(statuses, expected, JSON.stringify(server))
    t.equal(await attempt(app), 429)
  }
})

t.test('a flood of logins does not limit other routes', async (t) => {
  const app = await createApp(t, limited())
  const { username } = await createUser(app)
  const token = await login(app, username)
  t.equal((await attempts(app, 50, () => ({ ip: '127.0.0.1' }))).filter((status) => status === 429).length, 48)
  const call = caller(app)
  for (let i = 0; i < 20; i++) t.equal((await call('GET', '/protected', { token })).statusCode, 200)
  t.equal((await call('GET', '/auth/sessions', { token })).statusCode, 200)
  t.equal((await call('POST', '/auth/logout', { token })).statusCode, 204)
})

t.test('two server processes count together', async (t) => {
  const shared = {
    database: { connectionString: database.url },
    redis,
    cache: { namespace: uniqueNamespace() },
    autoMigrate: true,
    accountLimit: false as const,
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

t.test('while Redis is unavailable each process counts its share of the limit, and no login is answered 500', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const app = await createApp(t, { ...limited(), redis: { url: redis.url, commandTimeout: 500 } })
  t.same(await attempts(app, 2), [401, 401])
  await redis.kill()
  await until(async () => (await app.tokenAuth.health()).cache === 'down', 'the loss is seen')
  t.same(await attempts(app, 5), [401, 401, 429, 429, 429], 'half of three, rounded up')
  await redis.start()
  await until(async () => (await app.tokenAuth.health()).cache === 'up', 'Redis is back')
  t.same(await attempts(app, 4), [401, 401, 401, 429])
  redis.freeze()
  t.same(await attempts(app, 3, () => ({ ip: '192.0.2.50' })), [401, 401, 429])
  redis.thaw()
})

t.test('rateLimit.localMax applies while Redis is unavailable, and rateLimit.max if there is no Redis', async (t) => {
  const share = { max: 3, localMax: 1 }
  const away = await createApp(t, { ...limited(), rateLimit: share, redis: { url: `redis://127.0.0.1:${await freePort()}`, retryStrategy: () => null } })
  t.same(await attempts(away, 3), [401, 429, 429])
  const { redis: _, ...without } = limited()
  const alone = await createApp(t, { ...without, rateLimit: share })
  t.same(await attempts(alone, 4), [401, 401, 401, 429])
})

t.test('the host\'s own @fastify/rate-limit neither replaces nor doubles the plugin\'s limit', async (t) => {
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
  await fastify.register((await import('../../lib/index.js')).authPlugin, limited())
  const replies = await attempts(fastify, 4, () => ({ ip: '192.0.2.77' }))
  t.same(replies, [401, 401, 401, 429])
  const reply = await fastify.inject({ method: 'POST', url: '/auth/login', remoteAddress: '192.0.2.78', payload: body })
  t.equal(reply.headers['x-ratelimit-remaining'], '999', 'the host counts once, with its own numbers')
})

t.test('rateLimit: false counts nothing', async (t) => {
  const app = await createApp(t, { ...testOptions(database.url), accountLimit: false })
  t.notOk((await attempts(app, 20)).includes(429))
  const { username } = await createUser(app)
  t.equal(await attempt(app, { payload: { username, password: PASSWORD } }), 200)
})
const { pool } = countingPool(t, database.url)

t.test('a client without an address, on a Unix socket, is served and limited', async (t) => {
  const host = await createApp(t, { ...testOptions(database.url), rateLimit: { max: 2 } })
  const { username } = await createUser(host)
  const socketPath = join(tmpdir(), `${uniqueNamespace().slice(0, -1)}.sock`)
  await host.listen({ path: socketPath })
  const attempt = async () => {
    const request = httpRequest({ socketPath, path: '/auth/login', method: 'POST', headers: { 'content-type': 'application/json', connection: 'close' } })
    request.end(JSON.stringify({ username, password: PASSWORD }))
    const [reply] = await once(request, 'response')
    reply.resume()
    return reply.statusCode
  }
  t.same([await attempt(), await attempt(), await attempt()], [200, 200, 429])
  const { rows: [row] } = await pool.query('select t.ip, t.user_agent from auth_tokens t join users u on u.id = t.user_id where username = $1', [username])
  t.same(row, { ip: null, user_agent: null })
})

t.test('clients that a proxy names with a port have a count each', async (t) => {
  const app = await createApp(t, limited(), { server: { trustProxy: '192.0.2.1' } })
  for (const client of ['203.0.113.1', '203.0.113.2', '[2001:db8:1::1]', '[2001:db8:2::1]']) {
    t.same(await attempts(app, 4, (i) => ({ headers: { 'x-forwarded-for': `${client}:${4000 + i}` } })), [401, 401, 401, 429], client)
  }
})

t.test('addresses and networks of the allow list are not limited', async (t) => {
  const app = await createApp(t, { ...limited(), rateLimit: { max: 1, allowList: ['198.51.100.7', '10.0.0.0/8', '2001:db8::/32'] } })
  for (const ip of ['198.51.100.7', '10.200.3.4', '2001:db8:5::1', '::ffff:10.1.1.1']) t.same(await attempts(app, 3, () => ({ ip })), [401, 401, 401], ip)
  for (const ip of ['198.51.100.8', '2001:db9::1']) t.same(await attempts(app, 2, () => ({ ip })), [401, 429], ip)
})

t.test('a refusal is logged once in a window, and an untrusted proxy once', async (t) => {
  const { server, warnings } = logTo()
  const app = await createApp(t, limited(), { server })
  await attempts(app, 6)
  t.same(warnings(), ['an address has more logins than rateLimit.max: they are refused; see docs/options.md#limits'])
  for (const trustProxy of [false, 1, '127.0.0.1'] as const) {
    const { server, warnings } = logTo()
    const untrusting = await createApp(t, { ...limited(), rateLimit: { max: 100 } }, { server: { ...server, trustProxy: trustProxy as string } })
    await attempts(untrusting, 3, () => ({ headers: { 'x-forwarded-for': '203.0.113.1' } }))
    t.match(warnings(), [/^a login came with X-Forwarded-For from an address that is not trusted: /], String(trustProxy))
    t.equal(warnings().length, 1)
  }
  const trusting = logTo()
  await attempts(await createApp(t, limited(), { server: { ...trusting.server, trustProxy: '192.0.2.1' } }), 2, () => ({ headers: { 'x-forwarded-for': '203.0.113.1' } }))
  t.same(trusting.warnings(), [])
})

t.test('two registrations with tables of their own do not share the logins of an address', async (t) => {
  const options = limited()
  const staff = await createApp(t, options)
  await query('create table customers (like users including all)', database.url)
  const shop = await createApp(t, { ...options, users: { table: 'customers', idType: 'uuid' }, token: { table: 'customer_tokens' } })
  t.same(await attempts(staff, 4), [401, 401, 401, 429])
  t.same(await attempts(shop, 4), [401, 401, 401, 429])
})
