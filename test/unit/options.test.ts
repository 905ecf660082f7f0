import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fastifyRedis from '@fastify/redis'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { CamelCasePlugin, Kysely, PostgresDialect } from 'kysely'
import t from 'tap'
import type { Test } from 'tap'
import { argon2id, authPlugin, bcrypt, PreparedClient } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { OPTIONS } from '../../lib/options/table.js'
import { readOptions } from '../../lib/options/read.js'
import type { Rule } from '../../lib/options/rules.js'
import { createTokenFormat, digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { countingPool, until } from '../helpers/counting.js'
import { freePort } from '../helpers/redis-server.js'
import { openPool } from '../helpers/pool.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)
const observer = openPool(t, { connectionString: database.url })

const MINUTE = 'a duration of at least 60 s'
const NAME = 'a name of 1 to 63 characters'
const PRINTABLE = '1 to 60 printable ASCII characters'
const CAPTCHA = 'a captcha provider such as recaptcha({ secret }), or a function'
const HOOK: [unknown, string][] = [['log', 'a function, got "log"'], [{}, 'a function, got an object']]

/** Every option, with values it refuses and the rest of the message that says so. */
const BAD: Record<string, [value: unknown, message: string][]> = {
  database: [
    [undefined, 'a Kysely on PostgreSQL, a pg.Pool or a pool\'s configuration such as { connectionString }, got undefined'],
    [null, 'a Kysely on PostgreSQL, a pg.Pool or a pool\'s configuration such as { connectionString }, got null'],
    ['postgres://me:secret@db/app', 'a Kysely on PostgreSQL, a pg.Pool or a pool\'s configuration such as { connectionString }, got a string'],
    [[], 'a Kysely on PostgreSQL, a pg.Pool or a pool\'s configuration such as { connectionString }, got an array']
  ],
  redis: [
    ['redis://:secret@cache', 'an ioredis client, its options such as { url }, or true for fastify.redis, got a string'],
    [false, 'an ioredis client, its options such as { url }, or true for fastify.redis, got false']
  ],
  prefix: [['auth', 'a path such as "/auth", without a slash at its end, got "auth"'], ['/auth/', 'a path such as "/auth", without a slash at its end, got "/auth/"']],
  realm: [['my "api"', `${PRINTABLE} without quotes and backslashes, got "my \\"api\\""`], ['', `${PRINTABLE} without quotes and backslashes, got ""`]],
  schemes: [[[], 'an array that is not empty, got an array'], ['Bearer', 'an array that is not empty, got "Bearer"']],
  'token.ttl': [
    ['0', `${MINUTE}, got "0"`], [0, `${MINUTE}, got 0`], ['59s', `${MINUTE}, got "59s"`],
    ['soon', `${MINUTE}, got "soon"`], [Number.NaN, `${MINUTE}, got NaN`], [-1, `${MINUTE}, got -1`],
    [null, `${MINUTE}, got null`], ['11y', 'a duration of at most 315360000 s, got "11y"'],
    [Infinity, 'a duration of at most 315360000 s, got Infinity'], [() => 1, `${MINUTE}, got a function`]
  ],
  'token.idleTtl': [['1s', `${MINUTE}, got "1s"`]],
  'token.touchInterval': [[1, 'a duration of at least 50 ms, got 1'], ['2h', 'a duration of at most 3600 s, got "2h"']],
  'token.prefix': [['a_b', '2 to 12 letters or digits, got "a_b"'], ['x', '2 to 12 letters or digits, got "x"']],
  'token.maxPerUser': [[0, 'an integer from 1 to 10000, got 0'], ['5', 'an integer from 1 to 10000, got "5"'], [1.5, 'an integer from 1 to 10000, got 1.5']],
  'token.table': [['', 'a name of 1 to 48 characters, got ""'], ['a\0', 'a name of 1 to 48 characters, got "a\\u0000"'], ['x'.repeat(49), `a name of 1 to 48 characters, got "${'x'.repeat(49)}"`]],
  'token.schema': [[7, `${NAME}, got 7`]],
  'token.retention': [['1m', 'a duration of at least 3600 s, got "1m"']],
  'cache.ttl': [['1ms', 'a duration of at least 1 s, got "1ms"'], ['2d', 'a duration of at most 86400 s, got "2d"']],
  'cache.timeout': [[1, 'a duration of at least 5 ms, got 1'], ['1m', 'a duration of at most 10 s, got "1m"']],
  'cache.namespace': [['a b', `${PRINTABLE} without spaces, got "a b"`]],
  'cache.near.ttl': [[49, 'a duration of at least 50 ms, got 49'], ['11s', 'a duration of at most 10 s, got "11s"']],
  'cache.near.max': [[0, 'an integer from 1 to 1000000, got 0']],
  'cache.max': [[0, 'an integer from 1 to 10000000, got 0']],
  revocation: [['lax', "'strict' or 'bounded', got \"lax\""], [true, "'strict' or 'bounded', got true"]],
  'users.table': [[null, `${NAME}, got null`], ['x'.repeat(64), `${NAME}, got "${'x'.repeat(60)}…"`]],
  'users.schema': [['', `${NAME}, got ""`]],
  'users.columns.id': [[null, `${NAME}, got null`]],
  'users.columns.username': [[1, `${NAME}, got 1`]],
  'users.columns.passwordHash': [[null, `${NAME}, got null`]],
  'users.columns.active': [[false, `${NAME}, got false`]],
  'users.columns.lastLogin': [['', `${NAME}, got ""`]],
  'users.select': [['email', 'an array, got "email"'], [null, 'an array, got null']],
  'users.activeWhen': [[' ', 'a SQL condition, got " "'], [true, 'a SQL condition, got true']],
  'users.idType': [['serial', "'uuid' or 'integer' or 'bigint' or 'text', got \"serial\""]],
  'lookup.concurrency': [[0, 'an integer from 1 to 1000, got 0']],
  'lookup.queue': [[-1, 'an integer from 0 to 1000000, got -1']],
  'lookup.maxWait': [['2m', 'a duration of at most 60 s, got "2m"']],
  'lookup.timeout': [[1, 'a duration of at least 10 ms, got 1']],
  'rateLimit.max': [[0, 'an integer from 1 to 1000000, got 0']],
  'rateLimit.timeWindow': [['10ms', 'a duration of at least 1 s, got "10ms"']],
  'rateLimit.localMax': [[0, 'an integer from 1 to 1000000, got 0']],
  'accountLimit.max': [[0, 'an integer from 1 to 100, got 0'], [101, 'an integer from 1 to 100, got 101']],
  'accountLimit.localMax': [[101, 'an integer from 1 to 100, got 101']],
  'accountLimit.delay': [['10ms', 'a duration of at least 100 ms, got "10ms"'], ['2h', 'a duration of at most 3600 s, got "2h"']],
  'accountLimit.maxDelay': [['2d', 'a duration of at most 86400 s, got "2d"']],
  'accountLimit.forgetAfter': [['1s', 'a duration of at least 60 s, got "1s"'], ['31d', 'a duration of at most 2592000 s, got "31d"']],
  captcha: [['secret', `${CAPTCHA}, got a string`], [{ check () {} }, `${CAPTCHA}, got an object`], [false, `${CAPTCHA}, got false`]],
  verifiers: [['django', 'an array, got "django"'], [{}, 'an array, got an object']],
  'hashing.concurrency': [[0, 'an integer from 1 to 256, got 0']],
  'hashing.queue': [[-1, 'an integer from 0 to 100000, got -1']],
  'hashing.maxWait': [[0, 'a duration of at least 1 ms, got 0'], ['2m', 'a duration of at most 60 s, got "2m"']],
  'password.common': [['yes', 'true or false, got "yes"']],
  'password.contextWords': [['acme', 'an array, got "acme"']],
  'password.breached': [['pwned', 'a list of breached passwords such as haveIBeenPwned(), got a string'], [{}, 'a list of breached passwords such as haveIBeenPwned(), got an object']],
  'password.check': [['strong', 'a function, got "strong"']],
  'users.canonicalize': [['lower', 'a function, got "lower"']],
  hasher: [['bcrypt', 'a hasher such as bcrypt({ cost: 12 }), got a string'], [{ hash () {}, verify () {} }, 'a hasher such as bcrypt({ cost: 12 }), got an object']],
  'password.minLength': [[7, 'an integer from 8 to 1024, got 7']],
  'password.maxLength': [[63, 'an integer from 64 to 1024, got 63']],
  start: [['lazy', "'strict' or 'degraded', got \"lazy\""]],
  autoMigrate: [['yes', 'true or false, got "yes"'], [1, 'true or false, got 1']],
  now: [[0, 'a function, got 0']],
  randomBytes: [[Buffer.alloc(1), 'a function, got an object']],
  'hooks.onLogin': HOOK,
  'hooks.onLoginFailed': HOOK,
  'hooks.onLogout': HOOK,
  'hooks.onPasswordChanged': HOOK,
  'hooks.onPasswordChangeFailed': HOOK,
  'hooks.onTokenRefused': HOOK,
  'hooks.onRevoked': HOOK,
  'hooks.onCacheError': HOOK
}

/** `{ token: { ttl: 1 } }` of `token.ttl` and 1. */
function nest (path: string, value: unknown): object {
  return path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as object
}

/** The error that stops the start; there must be one. */
async function refusal (t: Test, options: object, before: (app: FastifyInstance) => unknown = () => {}): Promise<Error & { code: string }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await before(app)
  const error = await app.register(authPlugin, options as AuthPluginOptions).then(() => null, (error) => error)
  if (error === null) throw new Error('it started')
  return error
}

interface Line { level: number, msg: string }

/** A server's logger and what it has written. */
function logTo (): { server: { logger: object }, lines: Line[], warnings: () => string[] } {
  const lines: Line[] = []
  const stream = { write: (line: string) => { lines.push(JSON.parse(line)) } }
  return { server: { logger: { level: 'info', stream } }, lines, warnings: () => lines.filter(({ level }) => level >= 40).map(({ msg }) => msg) }
}

/** Passes connections to a port on to the test's PostgreSQL. */
async function openProxy (t: Test, port: number, target = new URL(database.url)): Promise<void> {
  const sockets: Socket[] = []
  const server: Server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      sockets.push(socket)
      socket.on('error', () => {}).on('close', () => other.destroy()).pipe(other)
    }
  }).listen(port, '127.0.0.1')
  t.teardown(() => { sockets.forEach((socket) => socket.destroy()); server.close() })
  await once(server, 'listening')
}

function through (port: number): string {
  const url = new URL(database.url)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return url.href
}

/** A Redis of the test's own, on a port of its choice. */
async function startRedis (t: Test, port: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'fta-redis-'))
  const server = spawn(process.env['REDIS_SERVER_BIN'] as string,
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir], { stdio: 'ignore' })
  const ended = once(server, 'exit')
  t.teardown(async () => {
    server.kill()
    await ended
    await rm(dir, { recursive: true, force: true })
  })
}

async function connections (name: string): Promise<number> {
  const { rows } = await observer.query('select 1 from pg_stat_activity where application_name = $1', [name])
  return rows.length
}

/** A login and a cached and an uncached request: the whole way through both stores. */
async function roundTrip (t: Test, app: FastifyInstance): Promise<string> {
  const { username } = await createUser(app)
  const token = await login(app, username)
  for (let times = 0; times < 2; times++) t.equal((await caller(app)('GET', '/auth/me', { token })).json().user.username, username)
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 401)
  return username
}

t.test('options', async (t) => {
  t.test('every option has values it refuses, in this file', async (t) => {
    t.same(Object.keys(BAD).sort(), Object.keys(OPTIONS).sort())
  })

  for (const [path, values] of Object.entries(BAD)) {
    t.test(`refuses a wrong ${path} by name`, async (t) => {
      for (const [value, message] of values) {
        const error = await refusal(t, { database: {}, ...nest(path, value) })
        t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `${path} must be ${message}` })
        t.ok(error instanceof TypeError)
        t.notMatch(error.message, 'secret@')
      }
    })
  }

  t.test('names the entry of a list that is wrong', async (t) => {
    t.match(await refusal(t, { database: {}, schemes: ['Bearer', 'Basic'] }), { message: "schemes[1] must be 'Bearer' or 'Token', got \"Basic\"" })
    t.match(await refusal(t, { database: {}, users: { select: [''] } }), { message: 'users.select[0] must be a name of 1 to 63 characters, got ""' })
  })

  t.test('refuses an option that there is not, with those that there are', async (t) => {
    const unknown = async (options: object) => (await refusal(t, { database: {}, ...options })).message
    t.match(await unknown({ tokens: {} }), /^Unknown option "tokens"; there are: database, redis, prefix, realm, .*autoMigrate.*hooks$/)
    t.equal(await unknown({ token: { tll: '1d' } }), 'Unknown option "token.tll"; there are: ttl, idleTtl, touchInterval, prefix, maxPerUser, table, schema, retention')
    t.equal(await unknown({ users: { columns: { name: 'login' } } }), 'Unknown option "users.columns.name"; there are: id, username, passwordHash, active, lastLogin')
    t.match(await unknown({ toString: null }), /^Unknown option "toString"; there are: /)
  })

  t.test('refuses a group that is not an object', async (t) => {
    t.match(await refusal(t, { database: {}, token: null }), { message: 'token must be an object, got null' })
    t.match(await refusal(t, { database: {}, users: { columns: ['id'] } }), { message: 'users.columns must be an object, got an array' })
    t.match(await refusal(t, { database: {}, rateLimit: true }), { message: 'rateLimit must be an object, got true' })
    t.match(await refusal(t, { database: {}, accountLimit: 5 }), { message: 'accountLimit must be an object, got 5' })
    t.match(await refusal(t, { database: {}, password: 'of the database' }), { message: 'password must be an object, got a string' })
    t.match(await refusal(t, { database: {}, password: false }), { message: 'password must be an object, got false' })
    t.throws(() => readOptions([] as never), { message: 'options must be an object, got an array' })
  })

  t.test('refuses passwords that would be too short and too long at once', async (t) => {
    const error = await refusal(t, { database: {}, password: { minLength: 100, maxLength: 64 } })
    t.match(error, { message: 'password.maxLength must be at least password.minLength (100), got 64' })
  })

  t.test('refuses waits that contradict each other', async (t) => {
    t.match(await refusal(t, { database: {}, accountLimit: { delay: '1m', maxDelay: '30s' } }), { message: 'accountLimit.maxDelay must be at least accountLimit.delay, got 30000' })
    t.match(await refusal(t, { database: {}, accountLimit: { forgetAfter: '1h' } }), { message: 'accountLimit.forgetAfter must be longer than accountLimit.maxDelay, got 3600000' })
  })

  t.test('refuses a local limit over the shared one', async (t) => {
    for (const limit of ['rateLimit', 'accountLimit']) {
      t.match(await refusal(t, { database: {}, [limit]: { max: 3, localMax: 4 } }), { message: `${limit}.localMax must be at most ${limit}.max (3), got 4` })
    }
  })

  t.test('refuses unknown options of hashers', async (t) => {
    t.throws(() => bcrypt({ rounds: 14 } as object), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /Unknown option "rounds" of bcrypt\(\); there are: cost, threads/ })
    t.throws(() => argon2id({ memory: 65536 } as object), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /Unknown option "memory" of argon2id/ })
  })

  t.test('refuses users.select with the password hash, or what every user has', async (t) => {
    const message = (name: string) => `users.select must not name "${name}": request.user has its id and username anyway, and never the password hash`
    t.match(await refusal(t, { database: {}, users: { select: ['email', 'password_hash'] } }), { message: message('password_hash') })
    t.match(await refusal(t, { database: {}, users: { columns: { passwordHash: 'secret' }, select: ['secret'] } }), { message: message('secret') })
    t.match(await refusal(t, { database: {}, users: { select: ['id'] } }), { message: message('id') })
  })

  t.test('every default passes its own rule', async (t) => {
    for (const [path, { fallback, rule }] of Object.entries(OPTIONS)) {
      if (fallback !== undefined) t.doesNotThrow(() => (rule as Rule<unknown>)(fallback, path), path)
    }
    t.match(readOptions({ database: {} }), { token: { ttlMs: 30 * 86_400_000 }, rateLimit: { max: 5 }, autoMigrate: false })
  })

  t.test('an undefined option is an option left out, and the host\'s objects stay as they are', async (t) => {
    const options = { database: {}, token: Object.freeze({ ttl: undefined, prefix: 'abc' }), rateLimit: undefined, prefix: undefined }
    const before = structuredClone(options)
    const settings = readOptions(options as unknown as AuthPluginOptions)
    t.match(settings, { token: { ttlMs: 30 * 86_400_000, prefix: 'abc' }, rateLimit: { max: 5 }, prefix: '/auth' })
    t.same(options, before)
    t.ok(Object.isFrozen(settings))
  })

  t.test('a bcrypt cost out of range is refused where it is written', async (t) => {
    for (const cost of [3, 17, 10.5, Number.NaN]) t.throws(() => bcrypt({ cost }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION' })
  })
})

t.test('unsafe client settings', async (t) => {
  const unsafe = { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /^database\.query_timeout is unsafe with transactions: use statement_timeout/ }

  t.test('refuses database.query_timeout, wherever it stands', async (t) => {
    t.match(await refusal(t, { database: { connectionString: database.url, query_timeout: 1000 } }), unsafe)
    t.match(await refusal(t, { database: { connectionString: `${database.url}?query_timeout=1000` } }), unsafe)
    const pool = openPool(t, { connectionString: database.url, query_timeout: 1000 })
    t.match(await refusal(t, { database: pool }), unsafe)
  })

  t.test('a query_timeout of 0 is none', async (t) => {
    await createApp(t, testOptions(database.url, { database: { connectionString: database.url, query_timeout: 0 } }))
  })

  const UNSAFE_REDIS: [string, unknown, unknown][] = [['enableOfflineQueue', true, false], ['autoResendUnfulfilledCommands', true, false], ['maxRetriesPerRequest', 20, 0], ['maxRetriesPerRequest', null, 0]]
  for (const [name, value, wanted] of UNSAFE_REDIS) {
    t.test(`refuses redis.${name}: ${value}`, async (t) => {
      const message = new RegExp(`^redis\\.${name} must be ${wanted}: otherwise a write that was queued`)
      t.match(await refusal(t, { database: {}, redis: { url: redisUrl(), [name]: value } }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
      t.match(await refusal(t, { database: {}, redis: { url: `${redisUrl()}?${name}=${value}` } }), { message })
    })
  }

  t.test('the safe values may be written out', async (t) => {
    const redis = { url: redisUrl(), enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 }
    await roundTrip(t, await createApp(t, testOptions(database.url, { redis })))
  })
})

t.test('decorators', async (t) => {
  const taken = (name: string) => ({ code: 'FST_TOKEN_AUTH_DECORATOR_TAKEN', message: new RegExp(`^The decorator "${name}" exists already`) })
  const register = (app: FastifyInstance) => app.register(authPlugin, testOptions(database.url))

  t.test('refuses to start where another plugin has taken a name', async (t) => {
    const options = testOptions(database.url)
    t.match(await refusal(t, options, (app) => app.decorate('authenticate', async () => {})), taken('authenticate'))
    t.match(await refusal(t, options, (app) => app.decorate('tokenAuth', {} as never)), taken('tokenAuth'))
    t.match(await refusal(t, options, (app) => app.decorateRequest('user', null)), taken('request.user'))
    t.match(await refusal(t, options, (app) => app.decorateRequest('auth', null)), taken('request.auth'))
  })

  t.test('refuses to be registered twice', async (t) => {
    t.match(await refusal(t, testOptions(database.url), register), taken('authenticate'))
  })

  t.test('may be registered in two scopes beside each other', async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    for (const prefix of ['/a', '/b']) {
      app.register(async (scope) => { await scope.register(authPlugin, testOptions(database.url, { prefix })) })
    }
    await app.ready()
    for (const prefix of ['/a', '/b']) t.equal((await app.inject(`${prefix}/me`)).statusCode, 401)
  })
})

t.test('the database at start', async (t) => {
  t.test('one that cannot be reached stops the start, with the reason', async (t) => {
    const port = await freePort()
    const expected = { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE', message: "The database cannot be reached (ECONNREFUSED). To start without it, set start: 'degraded'" }
    for (const autoMigrate of [true, false]) t.match(await refusal(t, testOptions(through(port), { autoMigrate })), expected)
  })

  t.test('one that does not exist, or refuses the password, stops the start', async (t) => {
    const missing = await createDatabase()
    await missing.drop()
    t.match(await refusal(t, testOptions(missing.url)), { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE', message: /\(3D000\)/ })
    const error = await refusal(t, testOptions('postgres://me:my secret@db:x/app', { autoMigrate: false }))
    t.match(error, { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE' })
    t.notMatch(error.message, 'secret')
  })

  t.test("start: 'degraded' boots without it, answers 503, and recovers by itself", async (t) => {
    const port = await freePort()
    const { server, lines } = logTo()
    await createApp(t, testOptions(database.url))
    const app = await createApp(t, testOptions(through(port), { start: 'degraded' }), { server })
    const call = caller(app)
    const token = createTokenFormat({ prefix: 'fta', randomBytes: OPTIONS.randomBytes.fallback as never }).create()
    for (const reply of [
      await call('GET', '/auth/me', { token }), await call('POST', '/auth/logout', { token }),
      await call('POST', '/auth/login', { body: { username: 'u', password: 'some password' } })
    ]) {
      t.match(reply, { statusCode: 503, headers: { 'retry-after': /^[1-9]/ } })
      t.match(reply.json(), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    }
    t.equal((await call('GET', '/auth/me')).statusCode, 401, 'no token needs no database')
    t.equal((await app.tokenAuth.health()).database, 'down')
    t.equal(lines.filter(({ msg }) => msg === 'the database cannot be reached: starting without it').length, 1)
    await openProxy(t, port)
    await until(async () => (await call('GET', '/auth/me', { token })).statusCode === 401, 'the database is used')
    await roundTrip(t, app)
  })

  t.test("start: 'degraded' believes no entry of the cache before the key of the seal can be read, then all of the servers'", async (t) => {
    const port = await freePort()
    const cache = { namespace: uniqueNamespace() }
    const first = await createApp(t, testOptions(database.url, { cache }))
    const { username } = await createUser(first)
    const token = await login(first, username)
    const redis = new Redis(redisUrl())
    t.teardown(() => redis.disconnect())
    const key = `${cache.namespace}t:${digestOf(token)}`
    t.equal((await caller(first)('GET', '/auth/me', { token })).statusCode, 200)
    await until(async () => (await redis.get(key))?.[0] === 'V', 'the entry is filled')
    const entry = await redis.get(key)
    const { pool, statements } = countingPool(t, through(port))
    const call = caller(await createApp(t, testOptions('', { database: pool, start: 'degraded', cache })))
    const get = (token: string) => call('GET', '/auth/me', { token })
    for (let i = 0; i < 3; i++) t.match(await get(token), { statusCode: 503, headers: { 'retry-after': /^[1-9]/ } })
    t.equal(await redis.get(key), entry)
    await openProxy(t, port)
    await until(async () => (await get(token)).statusCode === 200, 'SQL is asked')
    await until(async () => {
      statements.length = 0
      t.equal((await get(token)).statusCode, 200)
      return statements.length === 0
    }, 'the entry is believed')
    t.equal(await redis.get(key), entry)
  })

  t.test("start: 'degraded' migrates a database that is created later", async (t) => {
    const later = await createDatabase()
    await later.drop()
    const app = await createApp(t, testOptions(later.url, { start: 'degraded' }))
    t.equal((await caller(app)('POST', '/auth/login', { body: { username: 'u', password: 'p' } })).statusCode, 503)
    const { drop } = await createDatabase(new URL(later.url).pathname.slice(1))
    t.teardown(drop)
    await until(async () => (await caller(app)('POST', '/auth/login', { body: { username: 'u', password: 'p' } })).statusCode === 401, 'it is migrated')
    await roundTrip(t, app)
  })

  t.test("start: 'degraded' tells once that a database which came has no tables, and waits for them", async (t) => {
    const empty = await createDatabase()
    t.teardown(empty.drop)
    const port = await freePort()
    const target = new URL(empty.url)
    const { server, lines } = logTo()
    const url = new URL(through(port))
    url.pathname = target.pathname
    const { pool, statements } = countingPool(t, url.href)
    pool.on('error', () => {})
    const app = await createApp(t, testOptions(url.href, { database: pool, start: 'degraded', autoMigrate: false }), { server })
    await openProxy(t, port)
    await until(() => statements.filter((text) => / where false$/.test(text)).length > 1, 'it is looked at twice')
    const told = () => lines.filter(({ msg }) => msg === 'the database is not ready').length
    await createApp(t, testOptions(empty.url))
    await until(() => lines.some(({ msg }) => msg === 'the database is ready'), 'it is ready')
    t.equal(told(), 1)
    await roundTrip(t, app)
  })

  t.test("start: 'degraded' forgives nothing else", async (t) => {
    const empty = await createDatabase()
    t.teardown(empty.drop)
    t.match(await refusal(t, testOptions(empty.url, { start: 'degraded', autoMigrate: false })), { code: 'FST_TOKEN_AUTH_MISSING_TABLES' })
  })

  t.test('missing tables stop the start, and the message tells the command', async (t) => {
    const empty = await createDatabase()
    t.teardown(empty.drop)
    const error = await refusal(t, testOptions(empty.url, { autoMigrate: false }))
    t.match(error, { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: 'The users table is not as expected: relation "users" does not exist' })
    t.match(error.message, 'npx fastify-token-auth migrate --up')
  })

  t.test('a missing tokens table, a column of it, and the row of the secret stop the start by name', async (t) => {
    const half = await createDatabase()
    t.teardown(half.drop)
    await createApp(t, testOptions(half.url))
    const pool = openPool(t, { connectionString: half.url })
    await pool.query('alter table auth_tokens drop column scopes')
    t.match(await refusal(t, testOptions(half.url)), { message: 'The tokens table is not as expected: column "scopes" does not exist' })
    await pool.query('alter table auth_tokens add column scopes text')
    await pool.query('delete from auth_tokens_server_key')
    t.match(await refusal(t, testOptions(half.url)), { message: 'The server key table has no row: take the migration 0003_token_auth_server_key back and apply it again' })
    await pool.query('drop table auth_tokens')
    t.match(await refusal(t, testOptions(half.url, { autoMigrate: false })), { message: 'The tokens table is not as expected: relation "auth_tokens" does not exist' })
  })

  t.test('a mapped column that is missing stops the start by name', async (t) => {
    await createApp(t, testOptions(database.url))
    for (const users of [{ columns: { lastLogin: 'seen_at' } }, { columns: { active: 'seen_at' } }, { columns: { username: 'seen_at' } }, { select: ['seen_at'] }, { activeWhen: 'seen_at is null' }]) {
      const error = await refusal(t, testOptions(database.url, { users: { table: 'users', ...users }, autoMigrate: false }))
      t.match(error, { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: 'The users table is not as expected: column "seen_at" does not exist' })
    }
  })

  t.test('autoMigrate makes the tables, tells of it, and does nothing the second time', async (t) => {
    const fresh = await createDatabase()
    t.teardown(fresh.drop)
    for (const expected of [1, 0]) {
      const { server, lines } = logTo()
      await roundTrip(t, await createApp(t, testOptions(fresh.url), { server }))
      t.equal(lines.filter(({ msg }) => msg === 'migrated the database').length, expected)
    }
  })

  t.test('autoMigrate hands on what the database refuses', async (t) => {
    const other = await createDatabase()
    t.teardown(other.drop)
    const pool = openPool(t, { connectionString: other.url })
    await pool.query('create table users (id uuid primary key)')
    t.match(await refusal(t, testOptions(other.url)), { code: '42P07', message: 'relation "users" already exists' })
  })
})

t.test('a connection that the server ends in the middle of a statement is an error of that request alone', async (t) => {
  const name = uniqueNamespace()
  const config = { connectionString: database.url, application_name: name }
  const given = openPool(t, config)
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: openPool(t, { ...config, Client: PreparedClient }) }) })
  for (const option of [config, given, db]) {
    const app = await createApp(t, testOptions(database.url, { database: option }))
    const { username } = await createUser(app)
    const holder = await observer.connect()
    await holder.query('begin')
    await holder.query('select 1 from users where username = $1 for update', [username])
    const reply = caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })
    const end = 'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and wait_event_type = \'Lock\''
    await until(async () => ((await holder.query(end, [name])).rowCount ?? 0) > 0, 'the login waits')
    t.equal((await reply).statusCode, 503)
    await holder.query('rollback')
    holder.release()
    await login(app, username)
  }
})

t.test('what is given is left open, what is made is closed', async (t) => {
  t.test('a pool\'s configuration', async (t) => {
    const name = uniqueNamespace()
    const app = await createApp(t, testOptions(database.url, { database: { connectionString: database.url, application_name: name, idleTimeoutMillis: 0 } }))
    await roundTrip(t, app)
    t.ok(await connections(name) > 0)
    await app.close()
    await until(async () => await connections(name) === 0, 'the connections are closed')
  })

  t.test('a pg.Pool', async (t) => {
    const pool = openPool(t, { connectionString: database.url })
    const app = await createApp(t, testOptions(database.url, { database: pool }))
    await roundTrip(t, app)
    await app.close()
    t.same((await pool.query('select 1 as one')).rows, [{ one: 1 }])
  })

  t.test('a Kysely, also one with the CamelCasePlugin', async (t) => {
    for (const plugins of [[], [new CamelCasePlugin()]]) {
      const fresh = await createDatabase()
      t.teardown(fresh.drop)
      const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: openPool(t, { connectionString: fresh.url }) }), plugins })
      const app = await createApp(t, testOptions(fresh.url, { database: db, users: { select: ['created_at'], table: 'users' } }), {}).catch(() => null)
      t.equal(app, null, 'a table of the host\'s own is not made')
      const second = await createApp(t, testOptions(fresh.url, { database: db, users: { select: ['created_at'] } }))
      const username = await roundTrip(t, second)
      const { user } = await second.tokenAuth.issueToken((await second.tokenAuth.createUser({ username: `${username}2`, password: null })).id)
      t.match(user, { created_at: /^\d{4}-/ })
      await second.close()
      t.equal((await db.selectFrom('users').selectAll().execute()).length, 2)
    }
  })

  t.test('an ioredis client is copied, with safe settings', async (t) => {
    const connectionName = uniqueNamespace()
    const host = new Redis(redisUrl(), { connectionName: 'host' })
    t.teardown(() => host.disconnect())
    const app = await createApp(t, testOptions(database.url, { redis: host }))
    await roundTrip(t, app)
    t.equal((await app.tokenAuth.health()).cache, 'up')
    await app.close()
    t.equal(await host.ping(), 'PONG')
    const own = await createApp(t, testOptions(database.url, { redis: { url: redisUrl(), connectionName } }))
    const named = async () => String(await host.client('LIST')).split('\n').filter((line) => line.includes(`name=${connectionName} `)).length
    t.ok(await named() > 0)
    await own.close()
    await until(async () => await named() === 0, 'its own connection is closed')
  })
})

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
    t.equal((await app.tokenAuth.health()).cache, 'up')
    await app.close()
    t.equal(alive, 'PONG')
  })

  t.test('without Redis the cache is in the process', async (t) => {
    const { redis, ...options } = testOptions(database.url)
    const app = await createApp(t, options)
    t.same(await app.tokenAuth.health(), { database: 'up', cache: 'in-process' })
    await roundTrip(t, app)
  })

  t.test('one that is away costs one warning, and it is used when it comes', async (t) => {
    const port = await freePort()
    const { server, warnings } = logTo()
    const rateLimit = { max: 1000 }
    const app = await createApp(t, testOptions(database.url, { redis: { host: '127.0.0.1', port }, rateLimit }), { server })
    t.equal(warnings().length, 1)
    const { username } = await createUser(app)
    const token = await login(app, username)
    await login(app, username)
    for (let times = 0; times < 3; times++) t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 200)
    const expected = [
      'Redis cannot be reached: tokens are looked up in the database until it is back',
      'Redis does not count logins: they are limited in this process',
      'Redis does not count failed logins: they are counted in this process'
    ]
    t.same(warnings(), expected)
    t.equal((await app.tokenAuth.health()).cache, 'down')
    await startRedis(t, port)
    await until(async () => (await app.tokenAuth.health()).cache === 'up', 'Redis is used')
    t.same(warnings(), expected)
    await roundTrip(t, app)
  })
})
