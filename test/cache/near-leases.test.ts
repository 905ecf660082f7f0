import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { countingPool, openPool } from '../helpers/pools.js'
import { createAclUser, createPair, createServer, cut, logout, refused, resolveUser, session } from '../helpers/near.js'
import type { Server } from '../helpers/near.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'

const database = await createDatabase()
t.teardown(database.drop)
const pool = openPool(t, { connectionString: database.url, max: 2 })
/** Short for a server that has died, and long enough for one that lives, however busy the machine is. */
const GHOST_MS = 500
const cache = { near: { lease: '60s' } }

/** Waits until requests share the entry of the near cache. */
async function isShared (app: FastifyInstance, token: string): Promise<void> {
  await until(async () => {
    const [one, other] = [await resolveUser(app, token), await resolveUser(app, token)]
    return one === other
  }, 'the near cache is used')
}

async function members (): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>('select id from auth_tokens_members')
  return rows.map(({ id }) => id)
}

async function addGhost (id: string, isExpelled = false): Promise<void> {
  await pool.query('insert into auth_tokens_members (id, lease_ms, is_expelled) values ($1, $2, $3)', [id, GHOST_MS, isExpelled])
}

t.test('a token is refused by every server once its end is answered, whichever call ends it', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { cache })
  const { id } = await createUser(a.app)
  const [bystander, ...tokens] = await Promise.all(Array.from({ length: 6 }, async () => (await a.app.tokenAuth.issueToken(id)).token))
  const other = await session(a)
  for (const token of [bystander!, ...tokens, other]) for (const server of [a, b]) await warm(server, token)
  const { tokenAuth } = a.app
  const sessionOf = async (token: string) => (await caller(a.app)('GET', '/auth/me', { token })).json().session.id
  const ends: ((token: string) => Promise<unknown>)[] = [
    async (token) => t.equal(await logout(a, token), 204),
    async (token) => await tokenAuth.revokeToken(token),
    async (token) => await tokenAuth.revokeSession(await sessionOf(token)),
    async (token) => t.equal((await caller(a.app)('DELETE', `/auth/sessions/${await sessionOf(token)}`, { token: bystander! })).statusCode, 204),
    async () => await tokenAuth.revokeUser(id)
  ]
  for (const [i, end] of ends.entries()) {
    await end(tokens[i]!)
    for (const server of [b, a]) t.equal(await server.get(tokens[i]!), 401)
  }
  for (const server of [a, b]) t.equal(await server.get(other), 200)
})

t.test('a revocation of 600 sessions is sent in two messages', async (t) => {
  const { a, b, redis, namespace, warm } = await createPair(t, database.url, { cache, token: { maxPerUser: 1000 } })
  const { id } = await createUser(a.app)
  const tokens: string[] = []
  for (let i = 0; i < 30; i++) tokens.push(...await Promise.all(Array.from({ length: 20 }, async () => (await a.app.tokenAuth.issueToken(id)).token)))
  await warm(b, tokens[0]!)
  await Promise.all(tokens.map(b.get))
  let messages = 0
  const listener = redis.duplicate()
  t.teardown(() => listener.disconnect())
  await listener.subscribe(`${namespace}n`)
  listener.on('message', () => messages++)
  t.equal(await a.app.tokenAuth.revokeUser(id), 600)
  t.same([...new Set(await Promise.all(tokens.map(b.get)))], [401])
  await until(() => messages === 2, 'two messages')
})

t.test('refreshUser applies at once on every server', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { cache, users: { select: ['last_login'] } })
  const { id, username } = await createUser(a.app)
  const token = await login(a.app, username)
  for (const server of [a, b]) await warm(server, token)
  await pool.query('update users set last_login = \'2001-02-03T04:05:06Z\' where id = $1', [id])
  const seen = async ({ app }: Server) => (await caller(app)('GET', '/auth/me', { token })).json().user.last_login
  for (const server of [a, b]) t.not(await seen(server), '2001-02-03T04:05:06.000Z')
  t.equal(await a.app.tokenAuth.refreshUser(id), true)
  for (const server of [b, a]) t.equal(await seen(server), '2001-02-03T04:05:06.000Z')
})

t.test('a server without a near cache waits for those that have one', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { cache }, { cache: { near: false } })
  const token = await session(a)
  await warm(b, token)
  t.equal(await logout(a, token), 204)
  t.equal(await b.get(token), 401)
})

t.test('a revocation waits for the lease of a server that has died, once', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { cache })
  const [token, next] = [await session(a), await session(a)]
  await warm(b, token)
  await addGhost('ghost')
  const startedAt = performance.now()
  t.equal(await logout(a, token), 204)
  t.ok(performance.now() - startedAt >= GHOST_MS)
  t.equal(await b.get(token), 401)
  t.notOk((await members()).includes('ghost'))
  t.equal((await members()).length, 2, 'those that live are still members')
  t.equal(await logout(a, next), 204)
})

t.test('a server that another one has expelled is waited for, too', async (t) => {
  const { a } = await createPair(t, database.url, { cache })
  const token = await session(a)
  await addGhost('expelled', true)
  const startedAt = performance.now()
  t.equal(await logout(a, token), 204)
  t.ok(performance.now() - startedAt >= GHOST_MS)
  t.notOk((await members()).includes('expelled'))
})

t.test('revocations that come during the wait share the next one', async (t) => {
  const { a } = await createPair(t, database.url, { cache })
  const tokens = await Promise.all([1, 2, 3, 4].map(() => session(a)))
  await addGhost('shared')
  t.same(await Promise.all(tokens.map((token) => logout(a, token))), [204, 204, 204, 204])
})

t.test('a wait that is longer than lookup.timeout is answered 503, and goes on', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { cache, lookup: { timeout: '1s' } })
  const token = await session(a)
  await warm(b, token)
  await pool.query('insert into auth_tokens_members (id, lease_ms) values (\'slow\', 3000)')
  t.equal(await logout(a, token), 503)
  t.equal(await a.get(token), 401)
  await until(async () => !(await members()).includes('slow'), 'it has been waited for')
  t.equal(await logout(a, token), 204)
  t.equal(await b.get(token), 401)
})

t.test('a session whose deletion is pending is not reported as missing', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { cache, lookup: { timeout: '1s' } })
  const { username } = await createUser(a.app)
  const [token, own] = [await login(a.app, username), await login(a.app, username)]
  await warm(b, token)
  const { id } = (await caller(a.app)('GET', '/auth/me', { token })).json().session
  const remove = async ({ app }: Server) => (await caller(app)('DELETE', `/auth/sessions/${id}`, { token: own })).statusCode
  await pool.query('insert into auth_tokens_members (id, lease_ms) values (\'slow\', 3000)')
  t.equal(await remove(a), 503)
  t.equal(await remove(b), 503, 'the tombstone is written, and a server may still be in its lease')
  await until(async () => !(await members()).includes('slow'), 'it has been waited for')
  t.equal(await remove(a), 404)
})

t.test('a server that hears nothing is waited for, and then refuses', async (t) => {
  const way = await createTcpProxy(t, { port: Number(new URL(redisUrl()).port) })
  const namespace = uniqueNamespace()
  const deaf = await createServer(t, database.url, namespace, { cache: { near: { lease: '2s' } }, redis: { host: '127.0.0.1', port: way.port } })
  const speaking = await createServer(t, database.url, namespace, { cache })
  const token = await session(speaking)
  await until(async () => { deaf.statements.length = 0; return await deaf.get(token) === 200 && deaf.statements.length === 0 && Object.isFrozen(await resolveUser(deaf.app, token)) }, 'it is used')
  way.freeze()
  t.equal(await logout(speaking, token), 204)
  t.equal(await deaf.get(token), 401)
  way.pass()
})

t.test('a server that was expelled forgets what it knew, and becomes a member again', async (t) => {
  const { a, b, warm, cost } = await createPair(t, database.url, { cache: { near: { lease: '2s' } } })
  const token = await session(a)
  for (const server of [a, b]) await warm(server, token)
  const before = await members()
  await pool.query('update auth_tokens_members set is_expelled = true')
  await until(async () => (await cost(b, token)).length > 0, 'its memory is empty')
  for (const server of [a, b]) await warm(server, token)
  t.same((await members()).filter((id) => before.includes(id)), [])
})

t.test('without word from PostgreSQL a server stops to answer from its memory, and reads Redis', async (t) => {
  const { a, b, warm, cost } = await createPair(t, database.url, { cache: { near: { lease: '2s' } } })
  const token = await session(a)
  await warm(b, token)
  await pool.query('alter table auth_tokens_members rename to away')
  await until(async () => String(await cost(b, token)) === 'get', 'its lease is over')
  t.equal(await b.get(token), 200)
  await pool.query('alter table away rename to auth_tokens_members')
  await warm(b, token)
  t.ok(b.failures.some(({ operation }) => operation === 'near'))
})

t.test('with leaseRedis, what Redis answers counts only under the lease', async (t) => {
  const { a, b, warm, cost } = await createPair(t, database.url, { cache: { near: { lease: '2s', leaseRedis: true } } })
  const token = await session(a)
  await warm(b, token)
  await pool.query('alter table auth_tokens_members rename to away')
  await until(async () => (await cost(b, token)).some((query) => query.includes('select')), 'PostgreSQL is queried')
  t.equal(await b.get(token), 200)
  await pool.query('alter table away rename to auth_tokens_members')
  await warm(b, token)
})

t.test('a lost subscription empties the memory until there is a new one', async (t) => {
  const { redis } = await watchRedis(t, uniqueNamespace())
  const user = await createAclUser(t, redis, '~*', '&*', '+@all')
  const { a, b, warm, cost } = await createPair(t, database.url, { cache, redis: user })
  const token = await session(a)
  await warm(b, token)
  await redis.call('ACL', 'SETUSER', user.username, '-subscribe')
  await cut(redis, b)
  await until(async () => String(await cost(b, token)) === 'get', 'the entry is dropped')
  await until(() => refused(b).includes('subscribe'), 'Redis refuses the subscription')
  for (let i = 0; i < 3; i++) t.equal(String(await cost(b, token)), 'get')
  await redis.call('ACL', 'SETUSER', user.username, '+subscribe')
  await warm(b, token)
  t.equal(await logout(a, token), 204)
  t.equal(await b.get(token), 401)
})

t.test('a server whose messages do not reach it is no member', async (t) => {
  const { redis } = await watchRedis(t, uniqueNamespace())
  const dumb = await createAclUser(t, redis, '~*', '&*', '+@all', '-publish')
  const { a, b, warm, cost } = await createPair(t, database.url, { cache }, { redis: dumb })
  const token = await session(a)
  await warm(b, token)
  await until(() => refused(a).length > 0, 'Redis refuses the message')
  t.same([...new Set(refused(a))], ['near'])
  for (let i = 0; i < 3; i++) t.equal(String(await cost(a, token)), 'get')
  t.equal((await members()).length, 1)
  t.equal(await logout(a, token), 503, 'it cannot notify the other')
  t.equal(await logout(b, token), 204)
  t.equal(await b.get(token), 401)
})

t.test('a subscription that is cut during a logout makes no difference', async (t) => {
  const { a, b, redis, warm } = await createPair(t, database.url, { cache: { near: { lease: '1s' } } })
  const token = await session(a)
  await warm(b, token)
  const [, status] = await Promise.all([cut(redis, b), logout(a, token)])
  t.equal(status, 204)
  t.equal(await b.get(token), 401)
})

t.test('a read that a logout on another server overtakes is answered once, and not kept', async (t) => {
  const { pool } = countingPool(t, database.url, { max: 2 })
  await pool.query(`create function pass_gate() returns boolean stable language plpgsql
    as 'begin perform pg_advisory_xact_lock_shared(4711); return true; end'`)
  const { a, b, warm } = await createPair(t, database.url, { cache, users: { activeWhen: 'active and pass_gate()' }, autoMigrate: false }, { users: {}, autoMigrate: true })
  const [token, marker] = [await session(a), await session(a)]
  await warm(b, marker)
  const client = await pool.connect()
  t.teardown(() => client.release(true))
  await client.query('select pg_advisory_lock(4711)')
  const reading = b.get(token)
  await until(async () => (await client.query("select from pg_stat_activity where datname = current_database() and wait_event = 'advisory'")).rowCount === 1, 'PostgreSQL is being queried')
  t.equal(await logout(a, token), 204)
  await client.query('select pg_advisory_unlock(4711)')
  t.equal(await reading, 200, 'it began before the logout')
  t.equal(await b.get(token), 401)
})

t.test('messages that no server has sent are ignored', async (t) => {
  const { a, b, redis, namespace, warm, cost } = await createPair(t, database.url, { cache })
  const token = await session(a)
  for (const server of [a, b]) await warm(server, token)
  const [first] = await members()
  const names = [`${namespace}n`, `${namespace}n:${first!.split('.')[0]}`]
  const texts = ['', ',', 'R', 'null', '{"all":true}', '\0\n', 'x'.repeat(100_000), `drop x y ${token}`, `${'A'.repeat(43)}echo x`, `${'A'.repeat(43)}acknowledge ${first} x`, Buffer.from([255, 254, 0])]
  for (const text of texts) t.same(await Promise.all(names.map((name) => redis.publish(name, text))), [2, 1])
  for (const server of [a, b]) t.same(await cost(server, token), [])
  t.equal(await logout(a, token), 204)
  t.equal(await b.get(token), 401, 'the channel still works')
})

t.test('while Redis is unavailable', async (t) => {
  const server = await createRedisServer(t)
  await server.start()
  const namespace = uniqueNamespace()
  const { pool, statements } = countingPool(t, database.url)
  const app = await createApp(t, testOptions(database.url, { database: pool, redis: { url: server.url }, cache: { namespace, near: { lease: '2s' } } }))
  const get = async (token: string) => (await caller(app)('GET', '/protected', { token })).statusCode
  const redis = new Redis(server.url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  const gets = async () => Number(/cmdstat_get:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0)
  const lookups = () => statements.filter((text) => !text.includes('_members')).length
  const isNear = async (token: string) => {
    statements.length = 0
    const before = await gets()
    const status = await get(token)
    return status === 200 && lookups() === 0 && await gets() === before
  }
  const { username } = await createUser(app)
  const [token, doomed] = [await login(app, username), await login(app, username)]
  for (const each of [token, doomed]) await until(() => isNear(each), 'a request needs no query')

  await t.test('if Redis hangs, a token that is logged out on this server is refused on this server', async (t) => {
    server.freeze()
    t.teardown(server.thaw)
    t.equal((await caller(app)('POST', '/auth/logout', { token: doomed })).statusCode, 503)
    t.equal(await get(doomed), 401)
    t.equal(await get(token), 200)
  })

  await until(() => isNear(token), 'the near cache is used again')
  await server.kill()
  await until(async () => { statements.length = 0; await get(token); return lookups() > 0 }, 'the near cache is empty')
  t.equal(await get(token), 200)
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 503)
  t.equal(await get(token), 401)
  const other = await login(app, username)
  await server.start()
  await until(() => isNear(other), 'the near cache is used again')
})

t.test('nothing is left open when the server closes', async (t) => {
  const { b, redis, namespace } = await createPair(t, database.url)
  const subscribers = async () => Number((await redis.pubsub('NUMSUB', `${namespace}n`))[1])
  await until(async () => await subscribers() === 2 && (await members()).length === 2, 'both are members')
  await b.app.close()
  t.equal((await members()).length, 1)
  await until(async () => await subscribers() === 1, 'one is subscribed')
  await until(async () => !String(await redis.client('LIST')).includes(b.name.replace('-near', '')), 'none of its connections is left')
  const server = await createRedisServer(t)
  const away = await createApp(t, testOptions(database.url, { redis: { url: server.url }, cache: { near: true } }))
  await away.close()
})

t.test('the ACL rules that docs/storage.md adds for the near cache are sufficient', async (t) => {
  const text = readFileSync('docs/storage.md', 'utf8')
  const [, , , , , ...rules] = /^ACL SETUSER .*$/m.exec(text)![0].split(' ')
  const more = /near cache[^`]*`(&fta:n[^`]*)`/.exec(text)![1]!.split(' ')
  const namespace = uniqueNamespace()
  const { redis } = await watchRedis(t, namespace)
  const user = await createAclUser(t, redis, ...[...rules, ...more].map((rule) => rule.replace('fta:', namespace)))
  const [a, b] = [await createServer(t, database.url, namespace, { cache, redis: user }), await createServer(t, database.url, namespace, { cache, redis: user })]
  const token = await session(a)
  for (const { app } of [a, b]) await isShared(app, token)
  const { id } = await resolveUser(a.app, token)
  t.equal(await a.app.tokenAuth.refreshUser(id), true)
  t.equal(await logout(a, token), 204)
  t.equal(await b.get(token), 401)
  t.same([...refused(a), ...refused(b)], [])
})
