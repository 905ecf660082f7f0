import fastifyRedis from '@fastify/redis'
import Fastify from 'fastify'
import t from 'tap'
import { authPlugin } from '../../lib/index.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, redisUrl } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { logTo, refusal, roundTrip } from '../helpers/start.js'

const database = await createDatabase()
t.teardown(database.drop)

t.test('Redis at start', async (t) => {
  t.test('redis: true without @fastify/redis is refused', async (t) => {
    const expected = { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /^redis: true needs @fastify\/redis to be registered before/ }
    t.match(await refusal(t, testOptions(database.url, { redis: true })), expected)
    t.match(await refusal(t, testOptions(database.url, { redis: true }), (app) => app.decorate('redis', {} as never)), expected)
  })

  t.test('redis: true uses @fastify/redis and leaves it open', async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(fastifyRedis, { url: redisUrl() })
    let alive: string | null = null
    app.addHook('onClose', async () => { alive = await app.redis.ping() })
    await app.register(authPlugin, testOptions(database.url, { redis: true }))
    await app.ready()
    await until(async () => (await app.tokenAuth.health()).cache === 'up', 'the cache is used')
    await app.close()
    t.equal(alive, 'PONG')
  })

  t.test('without Redis the cache is in-process', async (t) => {
    const { redis, ...options } = testOptions(database.url)
    const app = await createApp(t, options)
    t.same(await app.tokenAuth.health(), { database: 'up', cache: 'in-process' })
    await roundTrip(t, app)
  })

  t.test('an unreachable Redis causes one warning per function, and is used when it becomes reachable', async (t) => {
    const redis = await createRedisServer(t)
    const { server, warnings } = logTo()
    const rateLimit = { max: 1000 }
    const app = await createApp(t, testOptions(database.url, { redis: { host: '127.0.0.1', port: redis.port }, rateLimit }), { server })
    t.equal(warnings().length, 1)
    const { username } = await createUser(app)
    const token = await login(app, username)
    await login(app, username)
    for (let times = 0; times < 3; times++) t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 200)
    const expected = [
      'Redis cannot be reached: tokens are looked up in the database until it is back',
      'Redis does not count logins: they are counted in this process',
      'Redis does not count failed logins: they are counted in this process'
    ]
    t.same(warnings(), expected)
    t.equal((await app.tokenAuth.health()).cache, 'down')
    await redis.start()
    await until(async () => (await app.tokenAuth.health()).cache === 'up', 'Redis is used')
    t.same(warnings(), expected)
    await roundTrip(t, app)
  })
})

t.test('a Redis without the configured database number is not used', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const host = await createApp(t, testOptions(database.url, { redis: { url: `${redis.url}/99` } }))
  const { username } = await createUser(host)
  t.equal((await caller(host)('GET', '/protected', { token: await login(host, username) })).statusCode, 200)
  t.equal((await host.tokenAuth.health()).cache, 'down')
  const { Redis } = await import('ioredis')
  const other = new Redis(redis.url)
  t.teardown(() => other.disconnect())
  t.same(await other.keys('*'), [])
})

t.test('a Redis that requires a password is not used, and the log has the reason', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const { Redis } = await import('ioredis')
  const admin = new Redis(redis.url)
  await admin.config('SET', 'requirepass', 'secret')
  admin.disconnect()
  const lines: string[] = []
  const host = await createApp(t, testOptions(database.url, { redis: { url: redis.url } }), { server: { logger: { level: 'warn', stream: { write (line: string) { lines.push(line) } } } } })
  const { username } = await createUser(host)
  t.equal((await caller(host)('GET', '/protected', { token: await login(host, username) })).statusCode, 200)
  t.match(lines.join(), /Redis refused the connection \(NOAUTH[^)]*\): tokens are looked up/)
})
