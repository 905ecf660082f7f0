import { createHash, createHmac, hash, randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createTokenFormat, digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'

const database = await createDatabase()
t.teardown(database.drop)

interface Bench {
  app: FastifyInstance
  statements: string[]
  redis: Redis
  take: () => Promise<string[]>
  keyOf: (token: string) => string
  get: (token: string) => Promise<number>
  /** Makes requests until there is an entry, which is written after the answer. */
  warm: (token: string) => Promise<string>
}

const tombstoneOf = (token: string) => `R${digestOf(token)}`

/** An app whose SQL statements and Redis commands are counted. */
async function createBench (t: Test, more: Parameters<typeof testOptions>[1] = {}): Promise<Bench> {
  const namespace = more.cache?.namespace ?? uniqueNamespace()
  const { pool, statements } = countingPool(t, database.url)
  const app = await createApp(t, testOptions(database.url, { database: pool, ...more, cache: { namespace, ...more.cache } }))
  const { redis, take } = await watchRedis(t, namespace)
  const keyOf = (token: string) => `${namespace}t:${digestOf(token)}`
  const get = async (token: string) => (await caller(app)('GET', '/protected', { token })).statusCode
  return {
    app,
    statements,
    redis,
    take,
    keyOf,
    get,
    async warm (token) {
      // Repeats the request, because on a busy machine a fill may take longer than its lease.
      await until(async () => await get(token) === 200 && (await redis.get(keyOf(token)))?.[0] === 'V', 'the entry is filled')
      return await redis.get(keyOf(token)) as string
    }
  }
}

async function session (bench: Bench): Promise<string> {
  const { username } = await createUser(bench.app)
  return await login(bench.app, username)
}

/** Seals a text for a token as servers do: a second implementation of the format. */
async function createSealer (t: Test): Promise<{ key: Buffer, seal: (text: string, token: string) => string }> {
  const { rows: [{ value, system, database: oid }] } = await countingPool(t, database.url).pool.query(`select value, system_identifier::text as system, oid::text as database
    from auth_tokens_server_key, pg_control_system(), pg_database where datname = current_database()`)
  const key = createHash('sha256').update(value).update(`${system} ${oid}`).digest()
  const columns = { id: 'id', username: 'username', passwordHash: 'password_hash', active: 'active', lastLogin: 'last_login' }
  const users = { schema: null, table: 'users', columns, select: [], activeWhen: null, isOwn: true }
  const view = JSON.stringify([users, { schema: null, table: 'auth_tokens' }, null])
  const derived = createHmac('sha256', key).update(`cache entry\0${view}`).digest('base64url')
  return { key, seal: (text, token) => `V${createHash('sha512-256').update(derived).update(digestOf(token)).update(text).digest('base64url')}${text}` }
}

const TAG = 43
const jsonOf = (value: string) => value.slice(1 + TAG)

/** The parts of an entry by name, in their order. */
function partsOf (value: string): Record<string, any> {
  const [v, sid, uid, username, iat, exp, end, idle = null, scopes = null, others = null, ...more] = JSON.parse(jsonOf(value))
  return { v, sid, uid, username, iat, exp, end, idle, scopes, others, more }
}

function textOf ({ more, ...parts }: Record<string, any>): string {
  return JSON.stringify([...Object.values(parts), ...more])
}

async function begin (bench: Bench): Promise<void> {
  await bench.take()
  bench.statements.length = 0
}

t.test('a hit needs one GET and no SQL; the first use needs a GET, a lease, one statement and a fill', async (t) => {
  const bench = await createBench(t)
  const token = await session(bench)
  await until(async () => (await bench.app.tokenAuth.health()).cache === 'up', 'the cache is trusted')
  await begin(bench)
  t.equal(await bench.get(token), 200)
  await until(async () => (await bench.redis.get(bench.keyOf(token)))?.[0] === 'V', 'the entry is filled')
  t.same(await bench.take(), ['get', 'eval', 'eval'])
  t.equal(bench.statements.length, 1)
  t.match(bench.statements[0], /^\/\*fta_[0-9a-f]{16}\*\/ select/, 'a named prepared statement')
  await begin(bench)
  t.equal(await bench.get(token), 200)
  t.same(await bench.take(), ['get'])
  t.same(bench.statements, [])
})

t.test('100 000 random bearer tokens cause no Redis command and no SQL statement', async (t) => {
  const bench = await createBench(t)
  await begin(bench)
  const { create } = createTokenFormat({ prefix: 'fta', randomBytes })
  const raw = { headers: {}, rawHeaders: [] as string[] }
  let refused = 0
  for (let i = 0; i < 100_000; i++) {
    const noise = i % 2 === 0 ? randomBytes(40).toString('base64url') : create().slice(0, -6) + randomBytes(3).toString('hex')
    const request = { raw: { ...raw, headers: { authorization: `Bearer ${noise}` } } }
    await bench.app.authenticate(request as never, { header () {} } as never).catch((error) => { if (error.code === 'FST_TOKEN_AUTH_INVALID_TOKEN') refused++ })
  }
  t.equal(refused, 100_000)
  t.same(await bench.take(), [])
  t.same(bench.statements, [])
})

t.test('after a flush, 1 000 concurrent requests with one token need at most five statements, then none', async (t) => {
  const bench = await createBench(t)
  const token = await session(bench)
  await bench.warm(token)
  await bench.redis.del(bench.keyOf(token))
  await begin(bench)
  const replies = await Promise.all(Array.from({ length: 1000 }, () => bench.get(token)))
  t.ok(replies.every((status) => status === 200))
  // One, unless so many requests exceeded the time limit for Redis: then the second batch queries again.
  t.ok(bench.statements.length <= 5, `${bench.statements.length} statements`)
  await until(async () => {
    bench.statements.length = 0
    await bench.get(token)
    return bench.statements.length === 0
  }, 'no more statements')
})

t.test('an entry in Redis is a sealed record of the digest, without the token and the password hash', async (t) => {
  const bench = await createBench(t)
  const token = await session(bench)
  const value = await bench.warm(token)
  const { user, session: { id: sid } } = (await caller(bench.app)('GET', '/auth/me', { token })).json()
  const { iat, exp, end } = partsOf(value)
  t.equal(value, (await createSealer(t)).seal(jsonOf(value), token))
  t.same(partsOf(value), { v: 4, sid, uid: user.id, username: user.username, iat, exp, end, idle: null, scopes: null, others: null, more: [] })
  t.notMatch(value, token.slice(4))
  t.notMatch(value, digestOf(token))
  t.equal(value.length, 170 + user.username.length, 'nothing is in it twice')
  t.notMatch(value, /\$2/)
  const ttl = await bench.redis.pttl(bench.keyOf(token))
  t.ok(ttl > 5 * 60_000 * 0.9 - 5000 && ttl <= 5 * 60_000, String(ttl))
})

t.test('a revocation writes a tombstone, and the tombstone alone makes a server refuse the token', async (t) => {
  const bench = await createBench(t)
  const token = await session(bench)
  await bench.warm(token)
  t.equal((await caller(bench.app)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal(await bench.redis.get(bench.keyOf(token)), tombstoneOf(token))
  await begin(bench)
  t.equal(await bench.get(token), 401)
  t.same(await bench.take(), ['get'])
  t.same(bench.statements, [])
})

t.test('a tombstone outlives every entry that a read before the commit can write', async (t) => {
  const bench = await createBench(t, { cache: { ttl: '1m' } })
  const token = await session(bench)
  const instant = async () => { const [seconds, micros] = await bench.redis.time(); return Number(seconds) * 1000 + Number(micros) / 1000 }
  const beforeAt = await instant()
  t.equal((await caller(bench.app)('POST', '/auth/logout', { token })).statusCode, 204)
  const leftMs = await bench.redis.pttl(bench.keyOf(token))
  const ranMs = await instant() - beforeAt
  // The transaction, the lease, the entry. The elapsed time is added, however slow the machine is.
  const windowMs = 30_000 + 2000 + 60_000
  t.ok(leftMs <= windowMs && leftMs + ranMs >= windowMs - 1, `${leftMs} ms left after ${ranMs} ms`)
})

t.test('an entry ends by the clock of PostgreSQL, however long Redis keeps it', async (t) => {
  const bench = await createBench(t, { cache: { ttl: '1m' } })
  const token = await session(bench)
  const { pool } = countingPool(t, database.url)
  const now = async () => Number((await pool.query('select extract(epoch from clock_timestamp()) * 1000 as now')).rows[0].now)
  const beforeAt = await now()
  const entry = partsOf(await bench.warm(token))
  t.ok(entry['end'] > beforeAt && entry['end'] <= await now() + 60_000)
  const { seal } = await createSealer(t)
  const statusOf = async (end: number) => {
    await bench.redis.set(bench.keyOf(token), seal(textOf({ ...entry, end }), token), 'PX', 3_600_000)
    return await bench.get(token)
  }
  await pool.query('update auth_tokens set revoked_at = now() where digest = $1', [Buffer.from(digestOf(token), 'base64url')])
  t.equal(await statusOf(entry['end'] + 3_600_000), 200, 'before its end')
  t.equal(await statusOf(await now() - 1), 401, 'after its end')
})

t.test('garbage in Redis is ignored: the server queries SQL and does not overwrite the garbage', async (t) => {
  const bench = await createBench(t)
  const [token, other] = [await session(bench), await session(bench)]
  const ofOther = await bench.warm(other)
  const { uid: id } = partsOf(await bench.warm(token))
  const { seal: sealFor } = await createSealer(t)
  const seal = (text: string) => sealFor(text, token)
  const entry = partsOf(ofOther)
  const own = (change: object) => seal(textOf({ ...entry, ...change }))
  const garbage = [
    '', 'V', 'V{', 'Vnull', 'V[]', seal('{'), seal('null'), seal('[]'), seal('x'), 'x', 'r', 'L', 'Lforeign', '\0', 'R', `R${digestOf(other)}`, ofOther,
    own({ v: 3 }), own({ v: 5 }), own({ exp: 'soon' }), own({ idle: 'x' }), own({ end: 1 }), own({ end: 'soon' }), own({ end: null }), own({ scopes: [1] }), own({ scopes: 'all' }),
    own({ sid: 7 }), own({ uid: null }), own({ uid: 1.5 }), own({ iat: null }), own({ username: 5 }), own({ username: null }), own({ more: [null] }),
    own({ others: 'x' }), own({ others: [] }), own({ others: { id: 'other' } }), own({ others: { username: 'x' } }), seal(jsonOf(ofOther).slice(0, -1) + ',null,null,{"__proto__":{"admin":true}}]'),
    seal(JSON.stringify({ ...entry, v: 4 })), sealFor(jsonOf(ofOther), other), 'V'.repeat(100_000)
  ]
  for (const value of garbage) {
    await bench.redis.set(bench.keyOf(token), value, 'PX', 60_000)
    const reply = await caller(bench.app)('GET', '/auth/me', { token })
    t.equal(reply.statusCode, 200, JSON.stringify(value.slice(0, 80)))
    t.equal(reply.json().user.id, id, JSON.stringify(value.slice(44, 200)))
    t.equal(await bench.redis.get(bench.keyOf(token)), value)
  }
  await bench.redis.del(bench.keyOf(token))
  await bench.redis.lpush(bench.keyOf(token), 'a list')
  t.equal(await bench.get(token), 200)
})

t.test('an attacker who can write to Redis cannot forge a session', async (t) => {
  const bench = await createBench(t)
  const { key, seal } = await createSealer(t)
  const ofVictim = await bench.warm(await session(bench))
  const victim = partsOf(ofVictim)['uid']
  const [own, made] = [await session(bench), createTokenFormat({ prefix: 'fta', randomBytes }).create()]
  const genuine = await bench.warm(own)
  const tag = genuine.slice(1, 1 + TAG)
  const asVictim = (change: object = {}) => textOf({ ...partsOf(ofVictim), ...change })
  const keyed = (text: string, secret: string | Buffer) => createHmac('sha256', secret).update(text).digest('base64url')
  const forgeries = (token: string) => {
    const json = asVictim()
    const bound = digestOf(token) + json
    return [
      `V${json}`, `V${asVictim({ v: 1 })}`, ofVictim, genuine.slice(0, 1 + TAG) + json, ofVictim.slice(0, 1 + TAG) + json,
      `V${'A'.repeat(TAG)}${json}`, `V${'\u00e9'.repeat(TAG)}${json}`, `V${'\u4e2d'.repeat(TAG)}${json}`, `V${tag.slice(1)}${json}`, `V${tag}`, `V${tag}A${json}`,
      `V${hash('sha512-256', bound, 'base64url')}${json}`, `V${hash('sha256', bound, 'base64url')}${json}`, `V${keyed(bound, '')}${json}`,
      `V${createHash('sha512-256').update(keyed('cache entry\0', Buffer.alloc(32))).update(bound).digest('base64url')}${json}`
    ]
  }
  t.notSame(key, Buffer.alloc(32))

  await t.test('with an unissued token, which is still refused', async (t) => {
    for (const value of forgeries(made)) {
      await bench.redis.set(bench.keyOf(made), value, 'PX', 60_000)
      await begin(bench)
      t.equal(await bench.get(made), 401, JSON.stringify(value.slice(0, 80)))
      t.equal(bench.statements.length, 1, 'SQL is queried')
      t.equal(await bench.redis.get(bench.keyOf(made)), value)
    }
  })

  await t.test('with a token of their own, which still belongs to them, whichever byte they change', async (t) => {
    const sealed = genuine.slice(0, 1 + TAG)
    const changed = [1, TAG, 1 + TAG, genuine.indexOf(String(partsOf(genuine)['exp'])), genuine.length - 1].map((i) => genuine.slice(0, i) + String.fromCharCode(genuine.charCodeAt(i) ^ 1) + genuine.slice(i + 1))
    const longer = [`${genuine} `, `${sealed} ${jsonOf(genuine)}`, genuine.slice(0, -1)]
    for (const value of [...forgeries(own), ...changed, ...longer]) {
      await bench.redis.set(bench.keyOf(own), value, 'PX', 60_000)
      await begin(bench)
      const reply = await caller(bench.app)('GET', '/auth/me', { token: own })
      t.equal(reply.statusCode, 200, JSON.stringify(value.slice(0, 80)))
      t.not(reply.json().user.id, victim)
      t.equal(bench.statements.length, 1, 'SQL is queried')
    }
  })

  await t.test('but a sealed entry is accepted, so that the tests above would fail without the seal', async (t) => {
    await bench.redis.set(bench.keyOf(made), seal(asVictim(), made), 'PX', 60_000)
    await begin(bench)
    t.equal((await caller(bench.app)('GET', '/auth/me', { token: made })).json().user.id, victim)
    t.same(await bench.take(), ['get'])
    t.same(bench.statements, [])
    t.equal((await caller(bench.app)('DELETE', `/auth/sessions/${partsOf(ofVictim)['sid']}`, { token: made })).statusCode, 401, 'routes that end sessions query SQL')
  })
})

t.test('another server accepts the entry at once, with one GET and no SQL', async (t) => {
  const namespace = uniqueNamespace()
  const bench = await createBench(t, { cache: { namespace } })
  const token = await session(bench)
  await bench.warm(token)
  const other = await createBench(t, { cache: { namespace } })
  await begin(other)
  t.equal(await other.get(token), 200)
  t.same(await other.take(), ['get'])
  t.same(other.statements, [])
})

t.test('servers with an old and a new key treat each other\'s entries as garbage', async (t) => {
  const namespace = uniqueNamespace()
  const before = await createBench(t, { cache: { namespace } })
  const token = await session(before)
  const entry = await before.warm(token)
  const { pool } = countingPool(t, database.url)
  await pool.query('update auth_tokens_server_key set value = sha256(value)')
  const after = await createBench(t, { cache: { namespace } })
  const costs = async (bench: Bench) => {
    await begin(bench)
    t.equal(await bench.get(token), 200)
    return bench.statements.length
  }
  t.equal(await costs(after), 1)
  t.equal(await after.redis.get(after.keyOf(token)), entry, 'it is not overwritten')
  t.equal(await costs(before), 0)
  await after.redis.del(after.keyOf(token))
  t.not(await after.warm(token), entry)
  t.equal(await costs(after), 0)
  t.equal(await costs(before), 1)
  t.equal((await caller(before.app)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal(await after.get(token), 401, 'a tombstone has no seal')
})

t.test('SQL refuses a token that is unknown, expired, or of a deactivated user', async (t) => {
  const bench = await createBench(t)
  const unknown = createTokenFormat({ prefix: 'fta', randomBytes }).create()
  t.equal(await bench.get(unknown), 401)
  const { pool } = countingPool(t, database.url)
  const expired = await session(bench)
  await pool.query('update auth_tokens set expires_at = now() where digest = $1', [Buffer.from(digestOf(expired), 'base64url')])
  t.equal(await bench.get(expired), 401)
  const { id, username } = await createUser(bench.app)
  const inactive = await login(bench.app, username)
  await pool.query('update users set active = false where id = $1', [id])
  t.equal(await bench.get(inactive), 401)
})

t.test('an entry expires with its token, by the clock of the database', async (t) => {
  const bench = await createBench(t)
  const token = await session(bench)
  const { pool } = countingPool(t, database.url)
  await pool.query('update auth_tokens set expires_at = now() + interval \'400 ms\' where digest = $1', [Buffer.from(digestOf(token), 'base64url')])
  t.equal(await bench.get(token), 200)
  t.ok(await bench.redis.pttl(bench.keyOf(token)) <= 2000, 'a lease, or an entry of 400 ms')
  await until(async () => await bench.get(token) === 401, 'the token expires while it is cached')
})

t.test('after a reconnection, the cache is not trusted until recent revocations are rewritten', async (t) => {
  const bench = await createBench(t)
  const [live, dead] = [await session(bench), await session(bench)]
  const asLive = await bench.warm(dead)
  await caller(bench.app)('POST', '/auth/logout', { token: dead })
  // A Redis that restarts from an old snapshot has the revoked token as live.
  await bench.redis.set(bench.keyOf(dead), asLive, 'PX', 60_000)
  t.equal(await bench.get(dead), 200, 'without a reconnection the server cannot detect it')
  for (const line of String(await bench.redis.client('LIST')).split('\n')) {
    const [, id] = /id=(\d+) .*name=fastify-token-auth /.exec(line) ?? []
    if (id !== undefined) await bench.redis.client('KILL', 'ID', id)
  }
  await until(async () => await bench.redis.get(bench.keyOf(dead)) === tombstoneOf(dead), 'the tombstone is back')
  t.equal(await bench.get(dead), 401)
  await until(async () => (await bench.app.tokenAuth.health()).cache === 'up', 'the cache is trusted')
  t.equal(await bench.get(live), 200)
})

t.test('a Redis that comes back empty gets every recent revocation before it is trusted, however many there are', async (t) => {
  const own = await createRedisServer(t)
  await own.start()
  const namespace = uniqueNamespace()
  const app = await createApp(t, testOptions(database.url, { redis: { url: own.url, commandTimeout: 5000 }, cache: { namespace } }))
  const users = [await createUser(app), await createUser(app)]
  await own.kill()
  await until(async () => (await app.tokenAuth.health()).cache === 'down', 'the loss is seen')
  const { pool } = countingPool(t, database.url)
  // More than two pages of the catch-up, of both users in turn.
  const { rows } = await pool.query(`insert into auth_tokens (digest, user_id, expires_at, revoked_at, stale_at, revoke_reason)
    select sha256(('of the catch-up ' || n)::bytea), ($1::uuid[])[1 + n % 2], now() + interval '1 day', now(), now(), 'logout' from generate_series(1, 10001) n returning digest`, [users.map(({ id }) => id)])
  await own.start()
  await until(async () => (await app.tokenAuth.health()).cache === 'up', 'the cache is trusted')
  const redis = new Redis(own.url)
  t.teardown(() => redis.disconnect())
  const digests: string[] = rows.map(({ digest }) => digest.toString('base64url'))
  const values = await redis.mget(digests.map((digest) => `${namespace}t:${digest}`))
  t.equal(digests.length, 10_001)
  t.same(digests.filter((digest, index) => values[index] !== `R${digest}`), [], 'none is missing')
})

t.test('a change or deletion of a user waits for a concurrent login and writes a tombstone for its token too', async (t) => {
  const bench = await createBench(t, { lookup: { timeout: '20s' } })
  const { tokenAuth } = bench.app
  const { pool } = countingPool(t, database.url)
  const { create } = createTokenFormat({ prefix: 'fta', randomBytes })
  const isWaiting = async () => (await pool.query('select 1 from pg_stat_activity where datname = current_database() and wait_event_type = \'Lock\'')).rows.length > 0
  const ends: Record<string, (id: string | number, token: string) => Promise<unknown>> = {
    deleteUser: (id) => tokenAuth.deleteUser(id),
    setPassword: (id) => tokenAuth.setPassword(id, 'a password set by an admin'),
    setActive: (id) => tokenAuth.setActive(id, false),
    'change-password': (_id, token) => caller(bench.app)('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'a password of their own' } })
  }
  for (const [name, end] of Object.entries(ends)) {
    const { id, username } = await createUser(bench.app)
    const [token, fresh] = [await login(bench.app, username), create()]
    const underWay = await pool.connect()
    await underWay.query('begin')
    await underWay.query('select 1 from users where id = $1 for no key update', [id])
    await underWay.query('insert into auth_tokens (digest, user_id, expires_at) values ($1, $2, now() + interval \'1 day\')', [Buffer.from(digestOf(fresh), 'base64url'), id])
    const ended = end(id, token)
    await until(isWaiting, `${name} waits for the login`)
    await underWay.query('commit')
    underWay.release()
    await ended
    for (const one of [token, fresh]) t.equal(await bench.redis.get(bench.keyOf(one)), tombstoneOf(one), name)
    t.equal(await bench.get(fresh), 401, name)
  }
})

t.test('after refreshUser a changed user is visible at once', async (t) => {
  const bench = await createBench(t, { users: { select: ['last_login'] } })
  const { id, username } = await createUser(bench.app)
  const token = await login(bench.app, username)
  await bench.warm(token)
  const { pool } = countingPool(t, database.url)
  await pool.query('update users set last_login = \'2001-02-03T04:05:06Z\' where id = $1', [id])
  t.not((await caller(bench.app)('GET', '/auth/me', { token })).json().user.last_login, '2001-02-03T04:05:06.000Z')
  t.equal(await bench.app.tokenAuth.refreshUser(id), true)
  t.equal((await caller(bench.app)('GET', '/auth/me', { token })).json().user.last_login, '2001-02-03T04:05:06.000Z')
})

t.test('every key in Redis has an expiry', async (t) => {
  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  const bench = await createBench(t)
  const tokens = [await session(bench), await session(bench)]
  for (const token of tokens) await bench.warm(token)
  await caller(bench.app)('POST', '/auth/logout', { token: tokens[0]! })
  for (const token of tokens) t.ok(await redis.pttl(bench.keyOf(token)) > 0)
})

t.test('a key of another type is treated as garbage, and Redis is still used', async (t) => {
  const namespace = uniqueNamespace()
  const host = await createApp(t, testOptions(database.url, { cache: { namespace } }))
  const { username } = await createUser(host)
  const token = await login(host, username)
  const { redis } = await watchRedis(t, namespace)
  await redis.lpush(`${namespace}t:${digestOf(token)}`, 'a list')
  await until(async () => (await host.tokenAuth.health()).cache === 'up', 'the cache is trusted')
  for (let i = 0; i < 10; i++) t.equal((await caller(host)('GET', '/protected', { token })).statusCode, 200)
  t.equal((await host.tokenAuth.health()).cache, 'up')
  t.equal((await caller(host)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal(await redis.get(`${namespace}t:${digestOf(token)}`), `R${digestOf(token)}`)
})
