import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { AuthPluginOptions } from '../../lib/index.js'
import type { TokenRecord } from '../../lib/ports.js'
import { createLease, extend, ENDLESS } from '../../lib/cache/lease.js'
import { createNearCache, ENDED } from '../../lib/cache/near-cache.js'
import type { NearCache, NearCacheSettings } from '../../lib/cache/near-cache.js'
import { createNearLookup } from '../../lib/cache/near-lookup.js'
import type { CachedRecord } from '../../lib/cache/entry.js'
import type { Done } from '../../lib/cache/lookup.js'
import { createUser, login, testOptions } from '../helpers/app.js'
import { countingPool } from '../helpers/pools.js'
import { createPair, resolveUser, session } from '../helpers/near.js'
import { createDatabase } from '../helpers/services.js'
import { refusal } from '../helpers/start.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
const newDigest = () => randomBytes(32).toString('base64url')

function recordOf (digest: string, more: Partial<TokenRecord> = {}): TokenRecord {
  return { sessionId: digest, user: { id: 1, username: digest }, issuedAtMs: 0, expiresAtMs: 1e15, idleAtMs: null, scopes: null, ...more }
}

t.test('a hit queries neither Redis nor PostgreSQL', async (t) => {
  const { a, b, warm, cost } = await createPair(t, database.url)
  const token = await session(a)
  for (const server of [a, b]) {
    await warm(server, token)
    t.same(await cost(server, token), [])
    t.equal(await server.get(token), 200)
  }
})

t.test('a hit calls done synchronously', async (t) => {
  const { a, warm } = await createPair(t, database.url)
  const token = await session(a)
  await warm(a, token)
  const request = { raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] } }
  let isDone = false
  a.app.authenticate(request as never, {} as never, () => { isDone = true })
  t.ok(isDone)
})

t.test('the near cache is off by default, and with null and false', async (t) => {
  for (const near of [undefined, null, false] as const) {
    const { a, cost } = await createPair(t, database.url, { cache: { near: near as null } })
    const token = await session(a)
    await until(async () => String(await cost(a, token)) === 'get', 'Redis has the entry')
    t.equal(String(await cost(a, token)), 'get')
    t.notOk(Object.isFrozen((await resolveUser(a.app, token))))
  }
})

t.test('invalid options are rejected by name', async (t) => {
  const bad: [Partial<AuthPluginOptions>, RegExp][] = [
    [{ cache: { near: 1 as never } }, /^cache\.near must be an object or false or true, got 1/],
    [{ cache: { near: { lease: '61s' } } }, /^cache\.near\.lease must be a duration of at most 60 s, got "61s"/],
    [{ cache: { near: { lease: 499 } } }, /^cache\.near\.lease must be a duration of at least 500 ms, got 499/],
    [{ cache: { near: { max: 0 } } }, /^cache\.near\.max must be an integer from 1 to 10000000, got 0/],
    [{ cache: { near: { ttl: 1 } as never } }, /^Unknown option "cache\.near\.ttl"; known options: lease, max, leaseRedis, connection/],
    [{ redis: null as never, cache: { near: { leaseRedis: true } } }, /^cache\.near\.leaseRedis must be false without redis/],
    [{ cache: { near: { connection: {} } } }, /^cache\.near\.connection must be omitted with redis/]
  ]
  for (const [options, message] of bad) t.match(await refusal(t, testOptions(database.url, options)), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
})

t.test('fresh bypasses the near cache and queries PostgreSQL', async (t) => {
  const { a, warm } = await createPair(t, database.url)
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

t.test('request.user is one frozen object, from the first request on', async (t) => {
  const { pool } = countingPool(t, database.url)
  await pool.query('alter table users add column profile jsonb not null default \'{"roles": ["reader"], "of": {"team": 7}}\'')
  const { a, warm } = await createPair(t, database.url, { users: { select: ['profile'] } })
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
  const response = await a.app.inject({ url: '/protected', headers: { authorization: `Bearer ${token}` } })
  t.equal(response.statusCode, 403, 'it has a scope, and the route names none')
})

t.test('the near cache holds at most cache.near.max entries', async (t) => {
  const { a, warm, cost } = await createPair(t, database.url, { cache: { near: { max: 1 } } })
  const [first, second] = [await session(a), await session(a)]
  await warm(a, first)
  await warm(a, second)
  t.same(await cost(a, second), [])
  t.equal(String(await cost(a, first)), 'get')
})

t.test('near cache entries', async (t) => {
  let at = 1000
  let setBackMs = 0
  let mayFill = true
  const databaseClock = { now: () => at }
  const create = (more: Partial<NearCacheSettings> = {}) => createNearCache({ max: 10, lease: ENDLESS, databaseClock, now: () => at - setBackMs, monotonicNow: () => at, mayFill: () => mayFill, ...more })
  function fill (near: NearCache, digest: string, endsAtMs = Infinity, record = recordOf(digest)) {
    const read = near.begin(digest)
    if (read !== null) near.settle(read, { record, endsAtMs })
    return read !== null
  }

  await t.test('end when the entry of the cache ends that they were read from', async (t) => {
    const near = create()
    const digest = newDigest()
    fill(near, digest, at + 100)
    at += 99
    t.match(near.get(digest), { sessionId: digest })
    at += 1
    t.equal(near.get(digest), undefined)
  })

  await t.test('end by the clock that shows more', async (t) => {
    const near = create()
    const [digest, other] = [newDigest(), newDigest()]
    fill(near, digest, at + 100)
    fill(near, other, at + 100)
    at += 90
    setBackMs = 80
    t.ok(near.get(digest))
    at += 10
    t.equal(near.get(digest), undefined)
    setBackMs = 0
  })

  await t.test('are used only under the lease, by both clocks', async (t) => {
    const lease = createLease()
    const near = create({ lease })
    const digest = newDigest()
    fill(near, digest)
    t.equal(near.get(digest), undefined)
    extend(lease, { wallMs: at, monotonicMs: at }, 100)
    at += 99
    t.ok(near.get(digest))
    setBackMs = -1
    t.equal(near.get(digest), undefined, 'the machine may have been suspended')
    setBackMs = 0
    t.ok(near.get(digest))
    at += 1
    t.equal(near.get(digest), undefined)
    extend(lease, { wallMs: at, monotonicMs: at }, 100)
    t.ok(near.get(digest), 'it was only not used')
  })

  await t.test('are at most max, and never for a token that is not live', async (t) => {
    const near = create({ max: 2 })
    const digests = [newDigest(), newDigest(), newDigest()]
    for (const digest of digests) fill(near, digest)
    t.same(digests.map((digest) => near.get(digest) !== undefined), [false, true, true])
    const dead = newDigest()
    near.settle(near.begin(dead)!, null)
    t.equal(near.get(dead), undefined)
    t.ok(fill(near, dead), 'the next read may fill')
  })

  await t.test('are refused for some time if they have ended', async (t) => {
    const near = create()
    const digest = newDigest()
    fill(near, digest)
    const read = near.begin(digest)
    near.end([digest], 100)
    t.equal(near.get(digest), ENDED)
    near.settle(read!, { record: recordOf(digest), endsAtMs: Infinity })
    t.equal(near.get(digest), ENDED)
    at += 100
    t.equal(near.get(digest), undefined)
  })

  await t.test('are not kept of a read that began when nothing may be kept, nor before clear', async (t) => {
    const near = create()
    const [digest, other] = [newDigest(), newDigest()]
    const read = near.begin(digest)!
    fill(near, other)
    mayFill = false
    near.clear()
    t.equal(near.get(other), undefined)
    t.notOk(fill(near, other))
    mayFill = true
    near.settle(read, { record: recordOf(digest), endsAtMs: Infinity })
    t.equal(near.get(digest), undefined)
    t.ok(fill(near, digest))
  })

  await t.test('are filled by only one of the concurrent reads of a token', async (t) => {
    const near = create()
    const digest = newDigest()
    const read = near.begin(digest)!
    t.equal(near.begin(digest), null)
    near.drop([digest])
    const next = near.begin(digest)!
    const found = { record: recordOf(digest), endsAtMs: Infinity }
    near.settle(read, found)
    t.equal(near.get(digest), undefined, 'the earlier read is void')
    near.settle(next, found)
    t.ok(near.get(digest))
  })
})

t.test('a read that an invalidation overtakes fills no entry, and other reads are not affected', async (t) => {
  const near = createNearCache({ max: 10, lease: ENDLESS, databaseClock: { now: Date.now }, now: Date.now, monotonicNow: () => performance.now(), mayFill: () => true })
  const held = new Map<string, Done<CachedRecord>>()
  const store = createNearLookup({ near, store: { lookup: (digest, done) => { held.set(digest, done) }, lookupFresh: async () => null } })
  const [overtaken, other] = [newDigest(), newDigest()]
  const answers: unknown[] = []
  for (const digest of [overtaken, other]) store.lookup(digest, (_error, record) => answers.push(record?.sessionId))
  near.drop([overtaken, newDigest()])
  for (const digest of [overtaken, other]) held.get(digest)!(null, { record: recordOf(digest), endsAtMs: Infinity })
  t.same(answers, [overtaken, other], 'both are answered')
  t.equal(near.get(overtaken), undefined)
  t.match(near.get(other), { sessionId: other })
})
