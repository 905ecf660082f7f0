import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { untilDone } from '../../lib/tools/until-done.js'
import { authPlugin } from '../../lib/index.js'
import { NO_HEARTBEAT } from '../helpers/no-heartbeat.js'
import { createCacheAvailability } from '../../lib/cache/availability.js'
import { createCacheRegistry } from '../../lib/sql/caches.js'
import { createRetriedWrites } from '../../lib/cache/retried-writes.js'
import { createDatabaseClock } from '../../lib/tools/database-clock.js'
import { createDoubts } from '../../lib/cache/doubts.js'
import { createMemoryCache } from '../helpers/memory-cache.js'
import { createOutcomes } from '../../lib/sql/outcomes.js'
import { createCacheConsistency } from '../../lib/cache/consistency.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { countingPool, openMigrated } from '../helpers/pools.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool } = countingPool(t, database.url)
const select = { users: { select: ['display'] } }

async function showsDisplay (app: FastifyInstance, token: string): Promise<unknown> {
  return (await caller(app)('GET', '/protected', { token })).json().user?.display
}

/** A server over a Redis of its own, whose users have a column `display`. */
async function openWithRedis (t: Test, ...servers: object[]) {
  const redis = await createRedisServer(t)
  await redis.start()
  const admin = new Redis(redis.url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  admin.on('error', () => {})
  t.teardown(() => admin.disconnect())
  const namespace = uniqueNamespace()
  const boot = async (more: object = {}) => await createApp(t, testOptions(database.url, { ...select, redis: { url: redis.url }, cache: { namespace }, accountLimit: false, ...more }))
  const apps = await Promise.all((servers.length === 0 ? [{}] : servers).map(boot))
  const entry = async (token: string) => await admin.get(`${namespace}t:${digestOf(token)}`)
  async function cached (app: FastifyInstance, username: string): Promise<string> {
    const token = await login(app, username)
    await until(async () => await showsDisplay(app, token) === 'old' && (await entry(token))?.[0] === 'V', 'the token is cached')
    return token
  }
  return { redis, admin, namespace, apps, boot, entry, cached }
}

async function createNamed (app: FastifyInstance) {
  const user = await createUser(app)
  await pool.query('update users set display = \'old\' where id = $1', [user.id])
  return { ...user, rename: async () => await pool.query('update users set display = \'new\' where id = $1', [user.id]) }
}

// Adds the column before the servers of the tests start.
await createApp(t, testOptions(database.url))
await pool.query('alter table users add column display text')

const never = { ask: () => { throw new Error('unexpected') } }

t.test('a refresh that returned true lasts, even if Redis restarts from an older snapshot', async (t) => {
  const { admin, namespace, apps: [app], entry, cached } = await openWithRedis(t)
  const { id, username, rename } = await createNamed(app!)
  const token = await cached(app!, username)
  const snapshot = await entry(token)
  await rename()
  t.equal(await app!.tokenAuth.refreshUser(id), true)
  t.equal(await showsDisplay(app!, token), 'new')
  await admin.set(`${namespace}t:${digestOf(token)}`, snapshot!, 'PX', 60_000)
  t.equal(await showsDisplay(app!, token), 'old', 'a server that has lost no connection trusts its Redis')
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(async () => await entry(token) !== snapshot, 'the server drops the entry after the reconnection')
  t.equal(await showsDisplay(app!, token), 'new')
})

t.test('each refresh of the same user applies on every server', async (t) => {
  const { apps: [app, other], cached } = await openWithRedis(t, {}, {})
  const { id, username } = await createNamed(app!)
  const token = await cached(app!, username)
  for (const name of ['first', 'second', 'third']) {
    await pool.query('update users set display = $1 where id = $2', [name, id])
    t.equal(await app!.tokenAuth.refreshUser(id), true)
    for (const server of [app!, other!]) t.equal(await showsDisplay(server, token), name)
  }
})

t.test('a refresh without acknowledgment by Redis applies at once on its server, and everywhere when Redis is back', async (t) => {
  const { redis, apps: [app, other], entry, cached } = await openWithRedis(t, {}, {})
  const { id, username, rename } = await createNamed(app!)
  const token = await cached(app!, username)
  await rename()
  redis.freeze()
  t.equal(await app!.tokenAuth.refreshUser(id), false)
  t.equal(await showsDisplay(app!, token), 'new')
  redis.thaw()
  await until(async () => await showsDisplay(other!, token) === 'new', 'the other server sees it')
  t.not((await entry(token))?.includes('old'), true)
})

t.test('a refresh also drops entries of tokens whose revocation did not reach the cache', async (t) => {
  const { apps: [app], entry, cached } = await openWithRedis(t)
  const { id, username } = await createNamed(app!)
  const token = await cached(app!, username)
  await pool.query('update auth_tokens set revoked_at = now(), stale_at = now() where user_id = $1', [id])
  t.equal(await app!.tokenAuth.refreshUser(id), true)
  t.equal(await entry(token), null)
  t.equal((await caller(app!)('GET', '/protected', { token })).statusCode, 401)
})

t.test('a Redis that accepts no writes is not trusted, even if there is nothing to write', async (t) => {
  const { admin, boot } = await openWithRedis(t)
  await admin.replicaof('127.0.0.1', 1)
  const app = await boot({ lookup: { timeout: 5000 } })
  for (let i = 0; i < 20; i++) t.not((await app.tokenAuth.health()).cache, 'up')
  await admin.replicaof('NO', 'ONE')
  await until(async () => (await app.tokenAuth.health()).cache === 'up', 'it is a master')
})

t.test('a revoked token that is sent repeatedly causes no writes', async (t) => {
  const namespace = uniqueNamespace()
  const { take } = await watchRedis(t, namespace)
  const app = await createApp(t, testOptions(database.url, { cache: { namespace }, accountLimit: false }))
  const { username } = await createUser(app)
  const tokens = [await login(app, username), await login(app, username), await login(app, username)]
  for (const path of ['/auth/logout', '/auth/logout-all']) {
    const token = tokens.pop()!
    t.equal((await caller(app)('POST', path, { token })).statusCode, 204)
    const instants = async () => (await pool.query('select stale_at from auth_tokens order by id')).rows
    const before = await instants()
    await take()
    for (let i = 0; i < 5; i++) t.equal((await caller(app)('POST', path, { token })).statusCode, 204)
    t.same(await take(), [], path)
    t.same(await instants(), before)
  }
})

t.test('the clock of the database', async (t) => {
  let [wall, monotonic] = [1_000_000, 0]
  const clock = createDatabaseClock({ now: () => wall, monotonicNow: () => monotonic })
  t.equal(clock.now(), 1_000_000, 'this server\'s own clock until the database\'s is known')
  const sentAt = clock.moment()
  wall += 30
  monotonic += 30
  clock.sync(5000, sentAt)
  t.equal(clock.now(), 5030, 'the time is counted from the start of the query')
  wall -= 60_000
  monotonic += 10
  t.equal(clock.now(), 5040, 'a clock that is set back does not move it back')
  wall += 120_000
  t.equal(clock.now(), 65_030, 'a suspended machine moves it forward')
})

t.test('the TTL of a cache is recorded periodically, and a failure is reported', async (t) => {
  const { pool, sql, tables } = await openMigrated(t)
  const failures: Error[] = []
  const clock = createDatabaseClock({ now: () => 0, monotonicNow: () => 0 })
  const lives = createCacheRegistry({
    sql,
    tables,
    keys: 'a:',
    ttlMs: 1000,
    clock,
    logger: { info () {}, warn: (fields) => failures.push((fields as { err: Error }).err), error () {} },
    intervalMs: 20,
    retryMs: 10_000
  })
  const seenAt = async () => (await pool.query('select seen_at from auth_tokens_caches where namespace = \'a:\' and ttl_ms = 1000')).rows[0]?.seen_at.getTime()
  await lives.start()
  t.ok(Math.abs(clock.now() - Date.now()) < 3_600_000, 'it also sets the clock')
  const first = await seenAt()
  await until(async () => await seenAt() > first, 'it is written again')
  await pool.query('alter table auth_tokens_caches rename to away')
  await until(() => failures.length === 1, 'the failure is reported')
  t.match(failures[0], { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  await lives.close()
  await t.rejects(lives.start(), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' }, 'after close() it writes once')
})

t.test('a role without permission to record the TTL of its cache stops the start', async (t) => {
  const own = await createDatabase()
  t.teardown(own.drop)
  const app = await createApp(t, testOptions(own.url))
  await app.close()
  const { pool } = countingPool(t, own.url)
  const role = `r_${own.url.slice(-12)}`
  await pool.query(`create role ${role}; grant select on all tables in schema public to ${role}`)
  t.teardown(() => pool.query(`drop owned by ${role}; drop role ${role}`))
  const host = Fastify()
  t.teardown(() => host.close())
  const options = { ...testOptions(own.url, { autoMigrate: false }), database: { connectionString: own.url, options: `-c role=${role}` } }
  await t.rejects(async () => await host.register(authPlugin, options), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /The caches table cannot be written: permission denied/ })
})

t.test('a token stays in doubt until its last doubt is resolved', async (t) => {
  const doubts = createDoubts()
  const [first, second] = [doubts.begin({ digest: 'a' }), doubts.begin({ digest: 'a' })]
  doubts.begin({ userId: 7 })
  first()
  first()
  t.same([doubts.holdsToken('a'), doubts.holdsToken('b'), doubts.holdsUser(7), doubts.holdsUser('8')], [true, false, true, false])
  second()
  t.equal(doubts.holdsToken('a'), false)
})

t.test('writes that a cache does not accept are retried, up to a limit', async (t) => {
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  const doubts = createDoubts()
  let [isAway, overflows] = [true, 0]
  const sent: (readonly string[])[] = []
  const writes = createRetriedWrites({
    operation: 'tombstone',
    isTerminal: true,
    onFailure: availability.failed,
    doubts,
    overflowed: () => { overflows++ },
    send: async (digests) => {
      if (isAway) throw new Error('away')
      sent.push(digests)
    }
  })
  t.equal(await writes.write(['a', 'b']), false)
  t.equal(doubts.holdsToken('a'), true)
  t.equal(await writes.write(Array.from({ length: 10_000 }, (_, index) => `c${index}`)), false)
  t.equal(overflows, 1, 'beyond it the whole cache is caught up instead')
  t.equal(doubts.holdsToken('c1'), false)
  isAway = false
  await until(() => !doubts.holdsToken('a'), 'they are written')
  t.same(sent, [['a', 'b']])
  t.equal(await writes.write(['a', 'b']), true)
  t.equal(sent.length, 1, 'acknowledged digests are not written again')
  writes.forget()
  t.equal(await writes.write(['a']), true)
  t.equal(sent.length, 2)
  isAway = true
  await writes.write(['d'])
  await writes.close()
  t.equal(doubts.holdsToken('d'), true, 'a closing server leaves it to the next one')
})

t.test('a slow revocation is dated again before it is answered', async (t) => {
  let at = 0
  let isAway = false
  const inquiries: unknown[] = []
  const written: unknown[] = []
  const outcomes = createOutcomes({
    timeoutMs: 60_000,
    findEnded: async (...args) => {
      inquiries.push(args)
      if (isAway) {
        isAway = false
        throw new Error('the database is away')
      }
      return ['digest']
    },
    monotonicNow: () => at
  })
  const close = outcomes.watch({ doubt: createDoubts().begin, ended: async (digests) => { written.push(digests) }, overflowed: never.ask })
  const taking = (ms: number) => outcomes.follow({ userId: 7 }, async () => { at += ms })
  await taking(10_000)
  t.same(inquiries, [])
  await taking(10_001)
  t.same(inquiries, [[{ userId: 7 }, 10_001]])
  isAway = true
  await t.rejects(taking(20_000), { message: 'the database is away' })
  await until(() => written.length === 1, 'its tombstones are still written')
  await close()
})

t.test('a cache that rejects more tombstones than the server can queue is not trusted', async (t) => {
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  availability.trust()
  const consistency = createCacheConsistency({
    cache: { ...createMemoryCache({ max: 10, now: () => 0 }), tombstone: () => Promise.reject(new Error('away')) },
    cacheTtlMs: 1000,
    availability,
    listStale: never.ask,
    assertPrimary: never.ask,
    heartbeat: NO_HEARTBEAT,
    doubts: createDoubts(),
    withdraw: never.ask
  })
  t.equal(await consistency.writeTombstones(['a']), false)
  t.equal(availability.isTrusted(), true, 'a single missing tombstone is tracked')
  t.equal(await consistency.writeTombstones(Array.from({ length: 10_001 }, (_, index) => `${index}`)), false)
  t.equal(availability.isTrusted(), false)
  await consistency.close()
})

t.test('a revocation during which Redis was replaced is repeated', async (t) => {
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  const doubts = createDoubts()
  const listeners: ((isConnected: boolean) => void)[] = []
  let times = 0
  const consistency = createCacheConsistency({
    cache: { ...createMemoryCache({ max: 10, now: () => 0 }), onConnection: (listener) => { listeners.push(listener) } },
    cacheTtlMs: 1000,
    availability,
    async * listStale () {},
    assertPrimary: async () => {},
    heartbeat: NO_HEARTBEAT,
    doubts,
    withdraw: async () => { if (++times === 1) for (const listener of listeners) listener(true) }
  })
  consistency.start()
  t.equal(await consistency.writeTombstones(['a']), false)
  t.equal(doubts.holdsToken('a'), true)
  await until(() => !doubts.holdsToken('a'), 'it is repeated')
  t.equal(times, 2)
  await consistency.close()
})

t.test('many concurrent unknown outcomes cause no MaxListenersExceededWarning', async (t) => {
  const warnings: Error[] = []
  const note = (warning: Error) => { warnings.push(warning) }
  process.on('warning', note)
  t.teardown(() => { process.off('warning', note) })
  const closing = new AbortController()
  const waits = Array.from({ length: 20 }, () => untilDone(async () => false, closing.signal))
  await new Promise(setImmediate)
  closing.abort()
  await Promise.all(waits)
  t.same(warnings, [])
})

t.test('unknown outcomes are tracked, up to a limit', async (t) => {
  const lost = () => Promise.reject(Object.assign(new Error(), { cause: { code: 'ECONNRESET' } }))
  let overflows = 0
  const doubts = createDoubts()
  const outcomes = createOutcomes({
    timeoutMs: 1000,
    findEnded: () => Promise.reject(new Error('the database is away')),
    monotonicNow: () => 0
  })
  const close = outcomes.watch({ doubt: doubts.begin, ended: never.ask, overflowed: () => { overflows++ } })
  const calls = Array.from({ length: 1001 }, (_, index) => outcomes.follow({ digest: `${index}` }, lost).catch(() => {}))
  await Promise.all(calls)
  t.equal(overflows, 1)
  t.equal(doubts.holdsToken('0'), true)
  t.equal(doubts.holdsToken('1000'), false)
  await outcomes.follow({ digest: 'refused' }, () => Promise.reject(Object.assign(new Error(), { cause: { code: '42501' } }))).catch(() => {})
  t.equal(doubts.holdsToken('refused'), false, 'a refused statement has revoked nothing')
  await close()
})
