import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Cluster, Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { AuthEvents, AuthPluginOptions } from '../../lib/index.js'
import type { TokenRecord } from '../../lib/ports.js'
import { createMemoryCache } from '../../lib/cache/memory-cache.js'
import { createDatabaseClock } from '../../lib/tools/database-clock.js'
import { createInvalidationChannel } from '../../lib/cache/invalidation-channel.js'
import { createInvalidatingCache, createNearCache, createNearLookup } from '../../lib/cache/near-cache.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'
import { deferred } from '../helpers/deferred.js'
import { refusal } from '../helpers/start.js'

const database = await createDatabase()
t.teardown(database.drop)
const TTL_MS = 10_000
const NEAR_AWAY = 'Redis cannot be reached: the near cache is not used until it is back'
const near = { ttl: TTL_MS }
const newDigest = () => randomBytes(32).toString('base64url')

/** A server with a near cache, whose clock can be moved. */
interface Server {
  app: FastifyInstance
  /** The name of its subscribed connection. */
  name: string
  statements: string[]
  clock: { aheadMs: number }
  failures: AuthEvents['cacheError'][]
  get: (token: string) => Promise<number>
}

interface Pair {
  a: Server
  b: Server
  redis: Redis
  take: () => Promise<string[]>
  namespace: string
  /** The Redis commands and SQL statements of a request with the token. */
  cost: (server: Server, token: string) => Promise<string[]>
  /** Repeats the request until it needs no command and no statement. */
  warm: (server: Server, token: string) => Promise<void>
}

type Options = Omit<Partial<AuthPluginOptions>, 'redis'> & { redis?: RedisOptions }

async function createServer (t: Test, namespace: string, { redis = {}, cache, ...more }: Options): Promise<Server> {
  const { pool, statements } = countingPool(t, database.url)
  const clock = { aheadMs: 0 }
  const failures: AuthEvents['cacheError'][] = []
  const connectionName = `app-${newDigest()}`
  const app = await createApp(t, testOptions(database.url, {
    database: pool,
    redis: { url: redisUrl(), connectionName, ...redis },
    now: () => Date.now() + clock.aheadMs,
    hooks: { onCacheError: (event) => { failures.push(event) } },
    ...more,
    cache: { namespace, near, ...cache }
  }))
  const get = async (token: string) => (await caller(app)('GET', '/protected', { token })).statusCode
  return { app, name: `${connectionName}-near`, statements, clock, failures, get }
}

/** Two servers over one Redis and one PostgreSQL. */
async function createPair (t: Test, options: Options = {}, ofA: Options = {}): Promise<Pair> {
  const namespace = uniqueNamespace()
  const { redis, take } = await watchRedis(t, namespace)
  const a = await createServer(t, namespace, { ...options, ...ofA })
  const b = await createServer(t, namespace, options)
  async function cost (server: Server, token: string): Promise<string[]> {
    await take()
    server.statements.length = 0
    await server.get(token)
    return [...await take(), ...server.statements]
  }
  const warm = async (server: Server, token: string) => await until(async () => (await cost(server, token)).length === 0, 'a request needs no query')
  return { a, b, redis, take, namespace, cost, warm }
}

async function session ({ app }: Server): Promise<string> {
  return await login(app, (await createUser(app)).username)
}

async function logout ({ app }: Server, token: string): Promise<number> {
  return (await caller(app)('POST', '/auth/logout', { token })).statusCode
}

/** Cuts the subscribed connection of a server. */
async function cut (redis: Redis, { name }: Server): Promise<void> {
  const line = String(await redis.client('LIST', 'TYPE', 'PUBSUB')).split('\n').find((line) => line.includes(`name=${name} `))
  await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'ID', /\bid=(\d+)/.exec(line!)![1]!)
}

/** The operations that Redis has refused a server. */
function refused ({ failures }: Pick<Server, 'failures'>): string[] {
  return failures.filter(({ error }) => /^Redis answered NOPERM to [A-Z]+$/.test(error.message)).map(({ operation }) => operation)
}

async function createAclUser (t: Test, redis: Redis, ...rules: string[]): Promise<{ username: string, password: string }> {
  const username = uniqueNamespace().slice(0, -1)
  await redis.call('ACL', 'SETUSER', username, 'on', '>secret', ...rules)
  t.teardown(() => redis.call('ACL', 'DELUSER', username).catch(() => {}))
  return { username, password: 'secret' }
}

function recordOf (digest: string, more: Partial<TokenRecord> = {}): TokenRecord {
  return { sessionId: digest, user: { id: 1, username: digest }, issuedAtMs: 0, expiresAtMs: 1e15, idleAtMs: null, scopes: null, ...more }
}

t.test('a hit queries neither Redis nor PostgreSQL', async (t) => {
  const { a, b, warm, cost } = await createPair(t)
  const token = await session(a)
  for (const server of [a, b]) {
    await warm(server, token)
    t.same(await cost(server, token), [])
    t.equal(await server.get(token), 200)
  }
  t.same([...refused(a), ...refused(b)], [])
})

t.test('a hit calls done synchronously', async (t) => {
  const { a, warm } = await createPair(t)
  const token = await session(a)
  await warm(a, token)
  const request = { raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] } }
  let isDone = false
  a.app.authenticate(request as never, {} as never, () => { isDone = true })
  t.ok(isDone)
})

t.test('the near cache is off by default, and with null and false', async (t) => {
  for (const near of [undefined, null, false] as const) {
    const { a, cost } = await createPair(t, { cache: { near: near as null } })
    const token = await session(a)
    await until(async () => String(await cost(a, token)) === 'get', 'Redis has the entry')
    t.equal(String(await cost(a, token)), 'get')
    t.notOk(Object.isFrozen((await resolveUser(a.app, token))))
  }
})

t.test('invalid options are rejected by name', async (t) => {
  const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true })
  const bad: [Partial<AuthPluginOptions>, RegExp][] = [
    [{ redis: null as never, cache: { near } }, /^cache\.near must be off without redis/],
    [{ redis: cluster, cache: { near } }, /^cache\.near must be off with a Redis Cluster/],
    [{ cache: { near: true as never } }, /^cache\.near must be an object or false, got true/],
    [{ cache: { near: { ttl: '11s' } } }, /^cache\.near\.ttl must be a duration of at most 10 s, got "11s"/],
    [{ cache: { near: { ttl: 49 } } }, /^cache\.near\.ttl must be a duration of at least 50 ms, got 49/],
    [{ cache: { near: { max: 0 } } }, /^cache\.near\.max must be an integer from 1 to 1000000, got 0/],
    [{ cache: { near: { size: 1 } as never } }, /^Unknown option "cache\.near\.size"; known options: ttl, max/]
  ]
  for (const [options, message] of bad) t.match(await refusal(t, testOptions(database.url, options)), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
})

t.test('a logged-out token is refused at once by its server, and by the other one after the notification', async (t) => {
  const { a, b, warm } = await createPair(t)
  const [token, bystander] = [await session(a), await session(a)]
  for (const server of [a, b]) for (const each of [token, bystander]) await warm(server, each)
  t.equal(await logout(a, token), 204)
  t.equal(await a.get(token), 401)
  await until(async () => await b.get(token) === 401, 'the other server refuses')
  for (const server of [a, b]) t.equal(await server.get(bystander), 200)
})

t.test('a revocation of 600 sessions reaches the other server in two messages', async (t) => {
  const { a, b, redis, namespace, warm } = await createPair(t, { token: { maxPerUser: 1000 } })
  const { id } = await createUser(a.app)
  const tokens: string[] = []
  for (let i = 0; i < 30; i++) tokens.push(...await Promise.all(Array.from({ length: 20 }, async () => (await a.app.tokenAuth.issueToken(id)).token)))
  await warm(b, tokens[0]!)
  await Promise.all(tokens.map(b.get))
  const heard: string[] = []
  const listener = redis.duplicate()
  t.teardown(() => listener.disconnect())
  await listener.subscribe(`${namespace}n`)
  listener.on('message', (_name, message) => heard.push(message))
  t.equal(await a.app.tokenAuth.revokeUser(id), 600)
  await until(async () => (await Promise.all(tokens.map(b.get))).every((status) => status === 401), 'all are refused')
  await until(() => heard.length === 2, 'two messages')
  t.same(heard.join(',').split(',').sort(), tokens.map(digestOf).sort())
})

t.test('a server that gets no notification refuses a revoked token after cache.near.ttl', async (t) => {
  const { redis } = await watchRedis(t, uniqueNamespace())
  const dumb = await createAclUser(t, redis, '~*', '&*', '+@all', '-publish')
  const { a, b, warm } = await createPair(t, {}, { redis: dumb })
  const token = await session(a)
  await warm(b, token)
  t.equal(await logout(a, token), 204)
  t.same([...new Set(refused(a))], ['publish'])
  t.equal(await a.get(token), 401, 'its own entry is gone')
  t.equal(await b.get(token), 200, 'it has received no notification')
  b.clock.aheadMs = TTL_MS
  t.equal(await b.get(token), 401)
})

t.test('while the subscription is lost, no entry is stored and the existing ones are dropped', async (t) => {
  const { redis } = await watchRedis(t, uniqueNamespace())
  const user = await createAclUser(t, redis, '~*', '&*', '+@all')
  const { a, b, warm, cost } = await createPair(t, { redis: user })
  const token = await session(a)
  await warm(b, token)
  await redis.call('ACL', 'SETUSER', user.username, '-subscribe')
  await cut(redis, b)
  await until(async () => String(await cost(b, token)) === 'get', 'the entry is dropped')
  await until(() => refused(b).length > 0, 'Redis refuses the subscription')
  t.equal(refused(b)[0], 'subscribe')
  for (let i = 0; i < 3; i++) t.equal(String(await cost(b, token)), 'get')
  await redis.call('ACL', 'SETUSER', user.username, '+subscribe')
  await warm(b, token)
  t.equal(await logout(a, token), 204)
  await until(async () => await b.get(token) === 401, 'the new subscription works')
})

t.test('a channel that is cut during a logout delays the refusal by cache.near.ttl at most', async (t) => {
  const { a, b, redis, warm } = await createPair(t)
  const token = await session(a)
  await warm(b, token)
  await Promise.all([cut(redis, b), logout(a, token)])
  b.clock.aheadMs = TTL_MS
  t.equal(await b.get(token), 401)
})

t.test('a read that a logout on another server overtakes is answered once, and not stored', async (t) => {
  const { pool } = countingPool(t, database.url, { max: 2 })
  await pool.query(`create function pass_gate() returns boolean stable language plpgsql
    as 'begin perform pg_advisory_xact_lock_shared(4711); return true; end'`)
  const { a, b, redis, namespace, warm, cost } = await createPair(t, { users: { activeWhen: 'active and pass_gate()' }, autoMigrate: false }, { users: {}, autoMigrate: true })
  const [token, marker] = [await session(a), await session(a)]
  await warm(b, marker)
  const client = await pool.connect()
  t.teardown(() => client.release(true))
  await client.query('select pg_advisory_lock(4711)')
  const reading = b.get(token)
  await until(async () => (await client.query("select from pg_stat_activity where datname = current_database() and wait_event = 'advisory'")).rowCount === 1, 'PostgreSQL is being queried')
  t.equal(await logout(a, token), 204)
  await redis.publish(`${namespace}n`, digestOf(marker))
  await until(async () => String(await cost(b, marker)) === 'get', 'a later message has arrived, so that of the logout has too')
  await client.query('select pg_advisory_unlock(4711)')
  t.equal(await reading, 200, 'it began before the logout')
  t.equal(await b.get(token), 401)
})

t.test('malformed messages are ignored', async (t) => {
  const { a, b, redis, namespace, warm, cost } = await createPair(t)
  const token = await session(a)
  for (const server of [a, b]) await warm(server, token)
  for (const message of ['', ',', 'R', 'null', '{"all":true}', '*', '\0\n', newDigest(), 'x'.repeat(100_000), `${digestOf(token)}x`, Buffer.from([255, 254, 0])]) {
    t.equal(await redis.publish(`${namespace}n`, message), 2)
  }
  const marker = await session(a)
  await warm(b, marker)
  await redis.publish(`${namespace}n`, digestOf(marker))
  await until(async () => String(await cost(b, marker)) === 'get', 'the last message has arrived')
  t.same(await cost(b, token), [])
  t.equal(await logout(a, token), 204)
  await until(async () => await b.get(token) === 401, 'the channel still works')
})

t.test('refreshUser applies at once on its server, and on the other one after the notification', async (t) => {
  const { a, b, warm } = await createPair(t, { users: { select: ['last_login'] } })
  const { id, username } = await createUser(a.app)
  const token = await login(a.app, username)
  for (const server of [a, b]) await warm(server, token)
  const { pool } = countingPool(t, database.url)
  await pool.query('update users set last_login = \'2001-02-03T04:05:06Z\' where id = $1', [id])
  const seen = async ({ app }: Server) => (await caller(app)('GET', '/auth/me', { token })).json().user.last_login
  for (const server of [a, b]) t.not(await seen(server), '2001-02-03T04:05:06.000Z')
  t.equal(await a.app.tokenAuth.refreshUser(id), true)
  t.equal(await seen(a), '2001-02-03T04:05:06.000Z')
  await until(async () => await seen(b) === '2001-02-03T04:05:06.000Z', 'the other server sees it')
})

t.test('fresh bypasses the near cache and queries PostgreSQL', async (t) => {
  const { a, warm } = await createPair(t)
  const user = await createUser(a.app)
  const token = await login(a.app, user.username)
  await warm(a, token)
  const { pool } = countingPool(t, database.url)
  const request = () => ({ raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] }, user: null })
  const asked = request()
  const fresh = a.app.authenticate.with({ fresh: true })
  await fresh(asked as never, { header () {} } as never)
  t.match(asked.user, user)
  t.ok(Object.isFrozen(asked.user), 'like any other user object')
  await pool.query('update users set active = false where id = $1', [user.id])
  t.equal(await a.get(token), 200)
  await t.rejects(fresh(request() as never, { header () {} } as never), { code: 'FST_TOKEN_AUTH_INVALID_TOKEN' })
})

async function resolveUser (app: FastifyInstance, token: string): Promise<any> {
  const request = { raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] }, user: null, auth: null }
  await app.authenticate.with({ scopes: 'any' })(request as never, { header () {} } as never)
  return request.user
}

t.test('request.user is one frozen object, from the first request on', async (t) => {
  const { pool } = countingPool(t, database.url)
  await pool.query('alter table users add column profile jsonb not null default \'{"roles": ["reader"], "of": {"team": 7}}\'')
  const { a, warm } = await createPair(t, { users: { select: ['profile'] } })
  const { id } = await createUser(a.app)
  const { token } = await a.app.tokenAuth.issueToken(id, { scopes: ['orders:read'] })
  const writes = [
    (user: any) => { user.admin = true }, (user: any) => { user.username = 'root' }, (user: any) => { delete user.id },
    (user: any) => { user.profile.roles.push('admin') }, (user: any) => { user.profile.of.team = 8 }
  ]
  const first = await resolveUser(a.app, token)
  for (const write of writes) t.throws(() => write(first), TypeError)
  await warm(a, token)
  const [second, third] = [await resolveUser(a.app, token), await resolveUser(a.app, token)]
  for (const write of writes) t.throws(() => write(second), TypeError)
  t.equal(third, second, 'the same object as in the entry')
  t.match(third, { id, profile: { roles: ['reader'], of: { team: 7 } } })
  // The hook fills `auth`, and the type lets nobody write to its scopes.
  const request = { raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] }, user: null, auth: null as any }
  await a.app.authenticate.with({ scopes: ['orders:read'] })(request as never, { header () {} } as never)
  t.throws(() => request.auth.scopes.push('orders:write'), TypeError)
  t.not(request.auth, null)
})

t.test('the near cache holds at most cache.near.max entries', async (t) => {
  const { a, warm, cost } = await createPair(t, { cache: { near: { ttl: TTL_MS, max: 1 } } })
  const [first, second] = [await session(a), await session(a)]
  await warm(a, first)
  await warm(a, second)
  t.same(await cost(a, second), [])
  t.equal(String(await cost(a, first)), 'get')
})

t.test('while Redis is unavailable', async (t) => {
  const server = await createRedisServer(t)
  await server.start()
  const lines: { level: number, msg: string }[] = []
  const logger = { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }
  const namespace = uniqueNamespace()
  const { pool, statements } = countingPool(t, database.url)
  const app = await createApp(t, testOptions(database.url, { database: pool, redis: { url: server.url }, cache: { namespace, near } }), { server: { logger, disableRequestLogging: true } })
  const get = async (token: string) => (await caller(app)('GET', '/protected', { token })).statusCode
  const redis = new Redis(server.url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  const gets = async () => Number(/cmdstat_get:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0)
  const isNear = async (token: string) => {
    statements.length = 0
    const before = await gets()
    const status = await get(token)
    return status === 200 && statements.length === 0 && await gets() === before
  }
  const { username } = await createUser(app)
  const [token, doomed] = [await login(app, username), await login(app, username)]
  for (const each of [token, doomed]) await until(() => isNear(each), 'a request needs no query')

  await t.test('if Redis hangs, a token that is logged out on this server is refused on this server', async (t) => {
    server.freeze()
    t.teardown(server.thaw)
    t.equal((await caller(app)('POST', '/auth/logout', { token: doomed })).statusCode, 503)
    t.equal(await get(doomed), 401)
    statements.length = 0
    for (let i = 0; i < 2; i++) t.equal(await get(token), 200)
    t.equal(statements.length, 1, 'the near entry is dropped, and the token is looked up once')
  })

  await until(() => isNear(token), 'the near cache is used again')
  await server.kill()
  await until(async () => { statements.length = 0; await get(token); return statements.length === 1 }, 'the near cache is empty')
  t.equal(await get(token), 200)
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 503)
  t.equal(await get(token), 401)
  await until(() => lines.some(({ msg }) => msg === NEAR_AWAY), 'a warning')
  const other = await login(app, username)
  await server.start()
  await until(() => isNear(other), 'the near cache is used again')
  t.equal(lines.filter(({ msg }) => msg === NEAR_AWAY).length, 1, 'one warning')
})

t.test('nothing is left open when the server closes', async (t) => {
  const { b, redis, namespace } = await createPair(t)
  const subscribers = async () => Number((await redis.pubsub('NUMSUB', `${namespace}n`))[1])
  await until(async () => await subscribers() === 2, 'both are subscribed')
  await b.app.close()
  await until(async () => await subscribers() === 1, 'one is subscribed')
  await until(async () => !String(await redis.client('LIST')).includes(b.name.replace('-near', '')), 'none of its connections is left')
  const server = await createRedisServer(t)
  const away = await createApp(t, testOptions(database.url, { redis: { url: server.url }, cache: { near } }))
  await away.close()
})

t.test('a connection that is lost before Redis acknowledges the subscription does not count as subscribed', async (t) => {
  const ways: ((client: Redis) => void)[] = [(client) => client.disconnect(), (client) => { client.stream.destroy() }]
  for (const lose of ways) {
    const client = new Redis(redisUrl(), { lazyConnect: true, enableOfflineQueue: false, maxRetriesPerRequest: 0, autoResubscribe: false, retryStrategy: () => null })
    const failures: string[] = []
    const lost = deferred<undefined>()
    const channel = createInvalidationChannel({
      subscriber: client,
      publisher: client,
      name: uniqueNamespace(),
      onInvalid () {},
      onLost: () => lost.resolve(undefined),
      report: (operation) => failures.push(operation)
    })
    channel.start()
    client.on('ready', () => lose(client))
    await lost.promise
    await new Promise(setImmediate)
    t.notOk(channel.isSubscribed())
    t.same(failures, [])
  }
})

t.test('the ACL rules that docs/storage.md adds for the near cache are sufficient', async (t) => {
  const text = readFileSync('docs/storage.md', 'utf8')
  const [, , , , , ...rules] = /^ACL SETUSER .*$/m.exec(text)![0].split(' ')
  const more = /near cache[^`]*`(&fta:n [^`]*)`/.exec(text)![1]!.split(' ')
  const namespace = uniqueNamespace()
  const { redis } = await watchRedis(t, namespace)
  const user = await createAclUser(t, redis, ...[...rules, ...more].map((rule) => rule.replace('fta:', namespace)))
  const { pool, statements } = countingPool(t, database.url)
  const failures: AuthEvents['cacheError'][] = []
  const app = await createApp(t, testOptions(database.url, { database: pool, redis: { url: redisUrl(), ...user }, cache: { namespace, near }, hooks: { onCacheError: (event) => { failures.push(event) } } }))
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  await until(async () => Object.isFrozen(await resolveUser(app, token)) && Number((await redis.pubsub('NUMSUB', `${namespace}n`))[1]) === 1, 'it is subscribed')
  statements.length = 0
  t.equal(await app.tokenAuth.refreshUser(id), true)
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
  t.same(refused({ failures }), [])
})

t.test('near cache entries', async (t) => {
  let at = 1000
  let setBackMs = 0
  let isSubscribed = true
  const create = (more = {}) => createNearCache({ max: 10, ttlMs: 100, clock: createDatabaseClock({ now: () => at - setBackMs, monotonicNow: () => at }), isSubscribed: () => isSubscribed, ...more })
  function fill (near: ReturnType<typeof create>, digest: string, record: TokenRecord | null = recordOf(digest)) {
    const read = near.begin(digest)
    if (read !== null) near.settle(read, record)
    return read !== null
  }

  await t.test('expire after ttlMs, counted from the start of the read', async (t) => {
    const near = create()
    const digest = newDigest()
    const read = near.begin(digest)!
    at += 60
    near.settle(read, recordOf(digest))
    at += 39
    t.equal(near.get(digest)?.sessionId, digest)
    at += 1
    t.equal(near.get(digest), null)
  })

  await t.test('expire after ttlMs, even if the clock is set back', async (t) => {
    const near = create()
    const digest = newDigest()
    fill(near, digest)
    at += 90
    setBackMs = 80
    t.not(near.get(digest), null)
    at += 10
    t.equal(near.get(digest), null)
    setBackMs = 0
  })

  await t.test('expire with the token and with its idle limit', async (t) => {
    const near = create()
    const [expiring, idle] = [newDigest(), newDigest()]
    fill(near, expiring, recordOf(expiring, { expiresAtMs: at + 10 }))
    fill(near, idle, recordOf(idle, { idleAtMs: at + 20 }))
    at += 9
    t.not(near.get(expiring), null)
    at += 1
    t.equal(near.get(expiring), null)
    t.not(near.get(idle), null)
    at += 10
    t.equal(near.get(idle), null)
  })

  await t.test('are at most max, and never for a token that is not live', async (t) => {
    const near = create({ max: 2 })
    const digests = [newDigest(), newDigest(), newDigest()]
    for (const digest of digests) fill(near, digest)
    t.same(digests.map((digest) => near.get(digest) !== null), [false, true, true])
    const dead = newDigest()
    fill(near, dead, null)
    t.equal(near.get(dead), null)
    t.ok(fill(near, dead), 'the next read may fill')
  })

  await t.test('are not stored while there is no subscription, nor by a read that began before it was lost', async (t) => {
    const near = create()
    const [digest, other] = [newDigest(), newDigest()]
    const read = near.begin(digest)!
    fill(near, other)
    isSubscribed = false
    near.clear()
    t.equal(near.get(other), null)
    t.notOk(fill(near, other))
    isSubscribed = true
    near.settle(read, recordOf(digest))
    t.equal(near.get(digest), null)
    t.ok(fill(near, digest))
  })

  await t.test('are filled by only one of the concurrent reads of a token', async (t) => {
    const near = create()
    const digest = newDigest()
    const read = near.begin(digest)!
    t.equal(near.begin(digest), null)
    near.drop([digest])
    const next = near.begin(digest)!
    near.settle(read, recordOf(digest))
    t.equal(near.get(digest), null, 'the earlier read is void')
    near.settle(next, recordOf(digest))
    t.not(near.get(digest), null)
  })
})

t.test('a read that an invalidation overtakes fills no entry, and other reads are not affected', async (t) => {
  const near = createNearCache({ max: 10, ttlMs: 1000, clock: createDatabaseClock({ now: Date.now, monotonicNow: () => performance.now() }), isSubscribed: () => true })
  const held = new Map<string, (record: TokenRecord | null) => void>()
  const store = createNearLookup({
    near,
    store: { lookup: (digest, done) => { held.set(digest, (record) => done(null, record)) }, lookupFresh: async () => null }
  })
  const [overtaken, other] = [newDigest(), newDigest()]
  const answers: unknown[] = []
  for (const digest of [overtaken, other]) store.lookup(digest, (_error, record) => answers.push(record?.sessionId))
  near.drop([overtaken, newDigest()])
  for (const digest of [overtaken, other]) held.get(digest)!(recordOf(digest))
  t.same(answers, [overtaken, other], 'both are answered')
  t.equal(near.get(overtaken), null)
  t.equal(near.get(other)?.sessionId, other)
})

t.test('a revocation drops the entry at once and again after the cache\'s acknowledgment, then notifies others', async (t) => {
  const near = createNearCache({ max: 10, ttlMs: 1000, clock: createDatabaseClock({ now: Date.now, monotonicNow: () => performance.now() }), isSubscribed: () => true })
  const inner = createMemoryCache({ max: 10, now: Date.now })
  const acknowledged = deferred<undefined>()
  const told: (readonly string[])[] = []
  const cache = createInvalidatingCache({
    near,
    cache: { ...inner, tombstone: async () => { await acknowledged.promise } },
    channel: { isSubscribed: () => true, start () {}, publish: async (digests) => { told.push(digests) }, close: async () => {} }
  })
  const digest = newDigest()
  const fill = () => near.settle(near.begin(digest)!, recordOf(digest))
  fill()
  const written = cache.tombstone([digest], 1000)
  t.equal(near.get(digest), null)
  fill()
  t.not(near.get(digest), null, 'a read in between found the old entry')
  t.same(told, [])
  acknowledged.resolve(undefined)
  await written
  t.equal(near.get(digest), null)
  t.same(told, [[digest]])
})
