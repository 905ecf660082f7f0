import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import pg from 'pg'
import t from 'tap'
import { authPlugin, createPGlitePool, PreparedClient } from '../../lib/index.js'
import type { Captcha, Hasher } from '../../lib/index.js'
import type { StalePage } from '../../lib/ports.js'
import { redactCommand } from '../../lib/redis/errors.js'
import { createCacheAvailability } from '../../lib/cache/availability.js'
import { createReadThrough } from '../../lib/cache/read-through.js'
import { UNSEALED } from '../../lib/crypto/seal.js'
import { createMemoryCache } from '../../lib/cache/memory-cache.js'
import { codeOf, isLost, isUnreachable, redactValues } from '../../lib/sql/errors.js'
import { createRetry } from '../../lib/sql/retry.js'
import { createCatchUp } from '../../lib/cache/catch-up.js'
import { createDatabaseClock } from '../../lib/tools/database-clock.js'
import { createDoubts } from '../../lib/cache/doubts.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, fastHasher, login, PASSWORD, testOptions } from '../helpers/app.js'
import { countingPool, until, watchRedis } from '../helpers/counting.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool } = countingPool(t, database.url)
const app = await createApp(t, testOptions(database.url))
const bytesOf = (token: string) => Buffer.from(digestOf(token), 'base64url')

/** The cheap hasher, with something happening while it hashes or verifies. */
function interrupted (during: { hash?: () => Promise<unknown>, verify?: () => Promise<unknown> }): Hasher {
  return {
    ...fastHasher,
    hash: async (password) => { await during.hash?.(); return await fastHasher.hash(password) },
    verify: async (password, hash) => { const isRight = await fastHasher.verify(password, hash); await during.verify?.(); return isRight }
  }
}

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

t.test('a host whose document is Swagger 2 gets the routes too', async (t) => {
  const host = Fastify()
  t.teardown(() => host.close())
  await host.register(swagger, { swagger: { securityDefinitions: { bearerToken: { type: 'apiKey', name: 'authorization', in: 'header' } } } })
  await host.register(authPlugin, testOptions(database.url))
  await host.ready()
  t.ok((host.swagger() as { paths: object }).paths['/auth/login' as never])
})

t.test('a captcha', async (t) => {
  const answers: Record<string, Captcha['verify']> = {
    good: async () => ({ ok: true }),
    bad: async () => ({ ok: false, reason: 'timeout-or-duplicate' }),
    rejecting: async () => { throw new Error('away') },
    throwing: () => { throw new Error('a fault of the provider') },
    hanging: () => new Promise(() => {})
  }
  const host = await createApp(t, testOptions(database.url, { captcha: { verify: (answer, context) => answers[answer]!(answer, context) } }))
  const { username } = await createUser(host)
  const attempt = async (captchaToken?: string) => await caller(host)('POST', '/auth/login', { body: { username, password: PASSWORD, captchaToken } })
  t.equal((await attempt('good')).statusCode, 200)
  t.match((await attempt('bad')).json(), { statusCode: 403, code: 'FST_TOKEN_AUTH_CAPTCHA_REFUSED' })
  for (const answer of ['rejecting', 'throwing', 'hanging']) t.match((await attempt(answer)).json(), { statusCode: 503, code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' }, answer)
  t.equal((await attempt()).statusCode, 400, 'none')
})

t.test('what happens while a password is hashed', async (t) => {
  const body = { currentPassword: PASSWORD, newPassword: 'another password' }

  await t.test('a session that is logged out meanwhile changes nothing', async (t) => {
    const { username } = await createUser(app)
    const token = await login(app, username)
    const host = await createApp(t, testOptions(database.url, { hasher: interrupted({ verify: async () => await app.tokenAuth.revokeToken(token) }) }))
    t.match((await caller(host)('POST', '/auth/change-password', { token, body })).json(), { statusCode: 401, code: 'FST_TOKEN_AUTH_INVALID_TOKEN' })
    t.ok(await login(app, username), 'the old password is in force')
  })

  await t.test('a login whose password is changed meanwhile is refused', async (t) => {
    const { id, username } = await createUser(app)
    const host = await createApp(t, testOptions(database.url, { hasher: interrupted({ verify: async () => await app.tokenAuth.setPassword(id, 'another password') }) }))
    t.equal((await caller(host)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode, 401)
    t.same(await app.tokenAuth.listSessions(id), [])
  })

  await t.test('a user who is deleted meanwhile is not found', async (t) => {
    // The plugin hashes once as it starts: the user comes after that.
    const username = 'not long for this world'
    const host = await createApp(t, testOptions(database.url, { hasher: interrupted({ hash: async () => await pool.query('delete from users where username = $1', [username]) }) }))
    await until(async () => (await caller(host)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode === 401, 'that hash is made')
    const { id } = await createUser(app, username)
    await t.rejects(host.tokenAuth.setPassword(id, 'another password'), { code: 'FST_TOKEN_AUTH_USER_NOT_FOUND' })
    const late = Fastify()
    t.teardown(() => late.close())
    late.addHook('preHandler', async ({ user }) => { await pool.query('delete from users where id = $1', [user?.id]) })
    await late.register(authPlugin, testOptions(database.url))
    const other = await createUser(app, `${username}-2`)
    const reply = await late.inject({ method: 'POST', url: '/auth/change-password', headers: { authorization: `Bearer ${await login(app, other.username)}` }, payload: body })
    t.equal(reply.statusCode, 401)
  })
})

t.test('logout', async (t) => {
  const { create } = (await import('../../lib/crypto/token.js')).createTokenFormat({ prefix: 'fta', randomBytes: (await import('node:crypto')).randomBytes })
  t.equal((await caller(app)('POST', '/auth/logout', { token: create() })).statusCode, 401, 'of a token that was never issued')
  const { username } = await createUser(app)
  const token = await login(app, username)
  await caller(app)('POST', '/auth/logout', { token })
  await pool.query('update auth_tokens set revoked_at = now() - interval \'1 day\' where digest = $1', [bytesOf(token)])
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204, 'of one that ended long ago')
})

t.test('a deadlock is tried again', async (t) => {
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  const session = await pool.connect()
  await session.query('begin')
  await session.query('update auth_tokens set label = \'held\' where digest = $1', [bytesOf(token)])
  // It holds the user's row and waits for the token's; the other way round below. Its wait began first, so it is the one who loses.
  const deleted = app.tokenAuth.deleteUser(id)
  await until(async () => (await pool.query('select 1 from pg_stat_activity where wait_event_type = \'Lock\' and datname = current_database()')).rows.length > 0, 'the deletion waits')
  await session.query('set deadlock_timeout = \'60s\'')
  await session.query('update users set last_login = now() where id = $1', [id])
  await session.query('commit')
  session.release()
  t.equal(await deleted, true)
  t.equal((await caller(app)('GET', '/protected', { token })).statusCode, 401)
})

t.test('a statement that hangs is answered in time, and does not hold up the shutdown', async (t) => {
  const host = await createApp(t, testOptions(database.url, { lookup: { timeout: '1s' } }))
  // Of a server with more patience.
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  const session = await pool.connect()
  await session.query('begin; lock table auth_tokens')
  const reply = await caller(host)('GET', '/auth/me', { token })
  t.match(reply.json(), { statusCode: 503, code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  await t.rejects(host.tokenAuth.listSessions(id), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  await t.rejects(host.tokenAuth.revokeUser(id), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
  t.equal((await host.tokenAuth.health()).database, 'up', 'it is the table that hangs')
  await host.close()
  await session.query('rollback')
  session.release()
})

t.test('a revocation that misses its deadline is told to the cache when it has happened after all', async (t) => {
  const host = await createApp(t, testOptions(database.url, { lookup: { timeout: '1s' } }))
  // Of a server with more patience.
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

t.test('more look-ups than may wait are answered 503, never 401', async (t) => {
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

t.test('a database that accepts connections and says nothing is unreachable, by name', async (t) => {
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

t.test('a migration that fails for another reason says it', async (t) => {
  const own = await createDatabase()
  t.teardown(own.drop)
  const first = await createApp(t, testOptions(own.url))
  await first.close()
  const { pool } = countingPool(t, own.url)
  await pool.query('update auth_tokens_migration set name = \'9999_unknown\' where name like \'0002%\'')
  const host = Fastify()
  t.teardown(() => host.close())
  await t.rejects(async () => await host.register(authPlugin, testOptions(own.url)), { message: /corrupted migrations/ })
})

t.test('an address that is there without a value is refused, as from an unset variable', async (t) => {
  const bad = [{ redis: { url: undefined } }, { redis: { url: '' } }, { database: { connectionString: undefined } }]
  for (const options of bad) {
    const host = Fastify()
    t.teardown(() => host.close())
    await t.rejects(async () => await host.register(authPlugin, { ...testOptions(database.url), ...options as object }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /(redis\.url|database\.connectionString) must be a URL, got/ })
  }
})

t.test('a key of another type is garbage, and no reason to leave Redis alone', async (t) => {
  const namespace = uniqueNamespace()
  const host = await createApp(t, testOptions(database.url, { cache: { namespace } }))
  const { username } = await createUser(host)
  const token = await login(host, username)
  const { redis } = await watchRedis(t, namespace)
  await redis.lpush(`${namespace}t:${digestOf(token)}`, 'a list')
  for (let i = 0; i < 10; i++) t.equal((await caller(host)('GET', '/protected', { token })).statusCode, 200)
  t.equal((await host.tokenAuth.health()).cache, 'up')
  t.equal((await caller(host)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal(await redis.get(`${namespace}t:${digestOf(token)}`), `R${digestOf(token)}`)
})

t.test('a Redis URL whose database is no number is refused', async (t) => {
  const host = Fastify()
  t.teardown(() => host.close())
  await t.rejects(async () => await host.register(authPlugin, testOptions(database.url, { redis: { url: 'redis://127.0.0.1:6379/abc' } })), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /number of a database/ })
})

t.test('a Redis without the database that is asked for is left alone', async (t) => {
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

t.test('a Redis that wants a password is away, and says why', async (t) => {
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
  t.match(lines.join(), /Redis cannot be reached/)
  t.match(lines.join(), /ReplyError|NOAUTH/)
})

t.test('a hasher that has something to close is closed', async (t) => {
  let closed = 0
  const host = await createApp(t, testOptions(database.url, { hasher: { ...fastHasher, close: async () => { closed++ } } }))
  await host.close()
  t.equal(closed, 1)
})

t.test('ids that the host\'s driver reads as BigInt are texts', async (t) => {
  await pool.query('create table people (id bigint primary key, username text, password_hash text, active boolean default true, last_login timestamptz)')
  const bigints = new pg.Pool({ connectionString: database.url, types: { getTypeParser: (oid: number, format: 'text') => oid === 20 ? BigInt : pg.types.getTypeParser(oid, format) } as never })
  t.teardown(() => bigints.end())
  const host = await createApp(t, testOptions(database.url, { database: bigints, users: { table: 'people' }, token: { table: 'people_tokens' } }))
  const { id, username } = await host.tokenAuth.createUser({ username: 'big', password: PASSWORD, fields: { id: '9007199254740993' } })
  t.equal(id, '9007199254740993')
  const token = await login(host, username)
  for (let i = 0; i < 2; i++) t.equal((await caller(host)('GET', '/auth/me', { token })).json().user.id, '9007199254740993')
})

t.test('idle sessions are pruned, too', async (t) => {
  const host = await createApp(t, testOptions(database.url, { token: { idleTtl: '60s' } }))
  const { username } = await createUser(host)
  const token = await login(host, username)
  await pool.query('update auth_tokens set last_used_at = now() - interval \'8 days\' where digest = $1', [bytesOf(token)])
  t.equal(await host.tokenAuth.pruneExpired(), 1)
})

t.test('runs on PGlite, given as its pool', async (t) => {
  const pglite = await PGlite.create()
  const embedded = createPGlitePool(pglite)
  t.teardown(() => embedded.end())
  const host = await createApp(t, { database: embedded, autoMigrate: true, hasher: fastHasher, rateLimit: false })
  const { username } = await createUser(host)
  const tokens = await Promise.all([login(host, username), login(host, username)])
  for (const token of tokens) t.equal((await caller(host)('GET', '/auth/me', { token })).statusCode, 200)
  t.equal((await caller(host)('POST', '/auth/logout-all', { token: tokens[0]! })).statusCode, 204)
  for (const token of tokens) t.equal((await caller(host)('GET', '/auth/me', { token })).statusCode, 401)
  const client = await embedded.connect()
  t.same((await client.query('select 1 as one, 9007199254740993 as big', [])).rows, [{ one: 1, big: '9007199254740993' }])
  client.release()
})

t.test('PreparedClient leaves every other statement as it is', async (t) => {
  const client = new PreparedClient(database.url)
  await client.connect()
  t.teardown(() => client.end())
  t.same((await client.query({ text: 'select $1::int as n', values: [7] })).rows, [{ n: 7 }])
  t.same((await client.query('select $1::int as n', [8])).rows, [{ n: 8 }])
  const named = '/*fta_0123456789abcdef*/ select $1::int as n'
  for (const n of [1, 2]) t.same((await client.query(named, [n])).rows, [{ n }])
  t.same((await client.query('select name from pg_prepared_statements')).rows, [{ name: 'fta_0123456789abcdef' }])
})

t.test('a driver\'s error loses its values, and keeps what helps', async (t) => {
  const failed = await pool.query('insert into users (username) values ($1), ($1)', ['a secret name']).catch((error) => error)
  t.match(failed.detail, 'a secret name')
  const clean = redactValues(failed)
  t.notMatch(JSON.stringify({ ...clean, message: clean.message, stack: clean.stack }), 'a secret name')
  t.match(clean, { code: '23505', table: 'users', name: 'DatabaseError' })
  t.same(['22001', '23502', '23514'].map((code) => redactValues({ code, column: 'c', constraint: 'k', message: 'a secret' }).message),
    ['a value is too long for its column', 'the column "c" must have a value', 'the check "k" refuses a value'])
  for (const nothing of [null, undefined, 'text', 5]) t.equal(codeOf(nothing), '')
  t.equal(redactValues(null).message, 'the database refused the statement')
  t.equal(redactValues(new Error('')).message, 'the database refused the statement')
  t.same([isUnreachable(null), isUnreachable(failed), isUnreachable({ code: 'ECONNREFUSED' }), isUnreachable({ code: '57P03' })], [false, false, true, true])
  for (const error of [{ code: '57P01' }, { code: '57P05' }, { code: 'ECONNRESET' }, new Error('Connection terminated'), new Error('Connection terminated unexpectedly'), new Error('Client has encountered a connection error and is not queryable')]) t.ok(isLost(error))
  for (const error of [null, failed, { code: 'ECONNREFUSED' }, { code: '57P03' }, { code: '57014' }, new Error('Connection terminated due to connection timeout')]) t.notOk(isLost(error))
})

t.test('what PostgreSQL refuses is told by what refuses it, never by the value', (t) => {
  const failure = { message: 'secret', detail: 'secret', constraint: 'rule', column: 'name' }
  for (const code of ['22001', '22021', '22P05', '23001', '23502', '23503', '23505', '23514', '23P01', '44000', 'P0001', '22P02']) {
    const { message } = redactValues({ ...failure, code })
    t.notMatch(message, /secret/, code)
    if (code.startsWith('23')) t.match(message, /"(rule|name)"/, code)
  }
  t.end()
})

t.test('a statement is not tried on more connections than there may be', async (t) => {
  let tries = 0
  const retry = createRetry({ timeoutMs: 60_000, connections: 3 })
  await t.rejects(retry(async () => { tries++; throw new Error('Client was closed and is not queryable') }, false), { message: /not queryable/ })
  t.equal(tries, 4)
})

t.test('a cache\'s error loses its command', async (t) => {
  const reply = (message: string) => Object.assign(new Error(message), { name: 'ReplyError', command: { args: ['secret'] } })
  t.match(redactCommand(reply('OOM command not allowed')), { message: 'Redis answered OOM', name: 'CacheError' })
  t.match(redactCommand(reply('whatever')), { message: 'Redis answered an error' })
  t.match(redactCommand(new Error('Command timed out')), { message: 'Command timed out' })
  t.notOk('command' in redactCommand(reply('OOM')))
})

t.test('the cache is trusted after a round that began when the last doubt had come up', async (t) => {
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  const rounds: (() => void)[] = []
  const listStale = () => new Promise<StalePage>((resolve) => { rounds.push(() => resolve({ revoked: ['d'], refreshed: [], next: null })) })
  const catchUp = createCatchUp({ cache: createMemoryCache({ max: 10, now: Date.now }), availability, listStale, assertPrimary: async () => {}, windowMs: 1000 })
  catchUp.start()
  catchUp.begin()
  await until(() => rounds.length === 1, 'a first round')
  rounds[0]!()
  await until(() => rounds.length === 2, 'a second round')
  t.equal(availability.isTrusted(), false)
  rounds[1]!()
  await catchUp.ready
  t.equal(availability.isTrusted(), true)
  await catchUp.close()
})

t.test('a revocation that overtakes a read', async (t) => {
  const memory = createMemoryCache({ max: 10, now: Date.now })
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  availability.trust()
  const record = { sessionId: 's', user: { id: 1, username: 'a' }, issuedAtMs: 0, expiresAtMs: Date.now() + 60_000, idleAtMs: null, scopes: null }
  const store = (cache: typeof memory, find: () => Promise<{ record: typeof record, asOfMs: number } | null>) =>
    createReadThrough({ cache, availability, doubts: createDoubts(), seal: UNSEALED, find, ttlMs: 60_000, clock: createDatabaseClock({ now: Date.now, monotonicNow: () => performance.now() }), leaseOwner: 'x', jitter: () => 0 })
  const resolve = (over: ReturnType<typeof store>, digest: string) => new Promise((resolve, reject) => over.lookup(digest, (error, found) => error === null ? resolve(found) : reject(error)))

  await t.test('between the look and the lease, is seen', async (t) => {
    const overtaken = { ...memory, get: (digest: string, done: (error: null, value: null) => void) => { memory.tombstone([digest], 1000).then(() => done(null, null)) } }
    t.equal(await resolve(store(overtaken as never, async () => { throw new Error('SQL is not asked') }), 'a'), null)
  })

  await t.test('between the statement and the fill, makes the fill void', async (t) => {
    const late = store(memory, async () => { await memory.tombstone(['b'], 60_000); return { record, asOfMs: record.expiresAtMs - 60_000 } })
    t.same(await resolve(late, 'b'), record, 'it began before the revocation had returned')
    t.equal(await resolve(late, 'b'), null)
  })

  await t.test('a token in its last millisecond is not cached', async (t) => {
    let asked = 0
    const short = store(memory, async () => { asked++; return { record, asOfMs: record.expiresAtMs - 0.4 } })
    for (let i = 0; i < 2; i++) t.same(await resolve(short, 'c'), record)
    t.equal(asked, 2)
  })
})
