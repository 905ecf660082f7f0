import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { PGlite } from '@electric-sql/pglite'
import Fastify from 'fastify'
import fastifyPostgres from '@fastify/postgres'
import { Redis } from 'ioredis'
import { Kysely, MysqlDialect, PostgresDialect, SqliteDialect } from 'kysely'
import pg from 'pg'
import postgres from 'postgres'
import { createClient } from 'redis'
import t from 'tap'
import { argon2id, authPlugin, bcrypt } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { OPTIONS } from '../../lib/options/table.js'
import { refuseUnknownSettings } from '../../lib/options/pool-settings.js'
import { readOptions } from '../../lib/options/read.js'
import type { Rule } from '../../lib/options/rules.js'
import { openRedis } from '../../lib/redis/client.js'
import { createApp, testOptions } from '../helpers/app.js'
import { createDatabase, redisUrl } from '../helpers/services.js'
import { SILENT } from '../helpers/silent.js'
import { openPool } from '../helpers/pools.js'
import { logTo, refusal, roundTrip } from '../helpers/start.js'

const database = await createDatabase()
t.teardown(database.drop)

const MINUTE = 'a duration of at least 60 s'
const JS_NAME = 'a JavaScript name such as "authenticateToken"'
const NAME = 'a name of 1 to 63 characters'
const PRINTABLE = '1 to 60 printable ASCII characters'
const CAPTCHA = 'a captcha provider such as recaptcha({ secret }), or a function'
const HOOK: [unknown, string][] = [['log', 'a function, got "log"'], [{}, 'a function, got an object']]

/** Every option, with values that it rejects and the rest of the error message. */
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
  schemes: [[[], 'a non-empty array, got an array'], ['Bearer', 'a non-empty array, got "Bearer"']],
  'decorators.authenticate': [['my hook', `${JS_NAME}, got "my hook"`], [false, `${JS_NAME}, got false`]],
  'decorators.tokenAuth': [['', `${JS_NAME}, got ""`]],
  'decorators.user': [[null, `${JS_NAME}, got null`]],
  'decorators.auth': [['1st', `${JS_NAME}, got "1st"`]],
  'openapi.operationIdPrefix': [['my staff', 'at most 40 letters, digits, "_", "-" and ".", got "my staff"'], [null, 'at most 40 letters, digits, "_", "-" and ".", got null']],
  'openapi.tags': [[[], 'a non-empty array, got an array'], ['auth', 'a non-empty array, got "auth"']],
  'openapi.hostRoutes': [[1, 'true or false, got 1']],
  'openapi.transform': [[{}, 'a function, got an object']],
  'token.ttl': [
    ['0', `${MINUTE}, got "0"`], [0, `${MINUTE}, got 0`], ['59s', `${MINUTE}, got "59s"`],
    ['soon', `${MINUTE}, got "soon"`], [Number.NaN, `${MINUTE}, got NaN`], [-1, `${MINUTE}, got -1`],
    [3600, `${MINUTE}, got 3600 (milliseconds)`], [null, `${MINUTE}, got null`], ['11y', 'a duration of at most 315360000 s, got "11y"'],
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
  'cache.near.lease': [[499, 'a duration of at least 500 ms, got 499'], ['61s', 'a duration of at most 60 s, got "61s"']],
  'cache.near.max': [[0, 'an integer from 1 to 10000000, got 0']],
  'cache.near.leaseRedis': [['yes', 'true or false, got "yes"']],
  'cache.near.connection': [[new URL('postgres://localhost'), 'the settings of a connection such as { connectionString }, got an instance of URL']],
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
  'rateLimit.allowList': [['10.0.0.1', 'an array, got "10.0.0.1"']],
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
  randomBytes: [[Buffer.alloc(1), 'a function, got an instance of Buffer']],
  'hooks.onLogin': HOOK,
  'hooks.onLoginFailed': HOOK,
  'hooks.onLogout': HOOK,
  'hooks.onPasswordChanged': HOOK,
  'hooks.onPasswordChangeFailed': HOOK,
  'hooks.onTokenRefused': HOOK,
  'hooks.onRevoked': HOOK,
  'hooks.onCacheError': HOOK
}

/** For example `{ token: { ttl: 1 } }` for `token.ttl` and 1. */
function nest (path: string, value: unknown): object {
  return path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as object
}

t.test('options', async (t) => {
  t.test('this file has rejected values for every option', async (t) => {
    t.same(Object.keys(BAD).sort(), Object.keys(OPTIONS).sort())
  })

  for (const [path, values] of Object.entries(BAD)) {
    t.test(`rejects a wrong ${path} by name`, async (t) => {
      for (const [value, message] of values) {
        const error = await refusal(t, { database: {}, ...nest(path, value) })
        t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `${path} must be ${message}` })
        t.ok(error instanceof TypeError)
        t.notMatch(error.message, 'secret@')
      }
    })
  }

  t.test('names the wrong entry of a list', async (t) => {
    t.match(await refusal(t, { database: {}, schemes: ['Bearer', 'Basic'] }), { message: "schemes[1] must be 'Bearer' or 'Token', got \"Basic\"" })
    for (const network of ['office', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/24', 8]) {
      t.match(await refusal(t, { database: {}, rateLimit: { allowList: [network] } }), { message: `rateLimit.allowList[0] must be an address or a network such as "10.0.0.0/8", got ${JSON.stringify(network)}` })
    }
    t.match(await refusal(t, { database: {}, users: { select: [''] } }), { message: 'users.select[0] must be a name of 1 to 63 characters, got ""' })
  })

  t.test('rejects an unknown option, and lists the known ones', async (t) => {
    const unknown = async (options: object) => (await refusal(t, { database: {}, ...options })).message
    t.match(await unknown({ tokens: {} }), /^Unknown option "tokens"; known options: database, redis, prefix, realm, .*autoMigrate.*hooks$/)
    t.equal(await unknown({ token: { tll: '1d' } }), 'Unknown option "token.tll"; known options: ttl, idleTtl, touchInterval, prefix, maxPerUser, table, schema, retention')
    t.equal(await unknown({ users: { columns: { name: 'login' } } }), 'Unknown option "users.columns.name"; known options: id, username, passwordHash, active, lastLogin')
    t.match(await unknown({ toString: null }), /^Unknown option "toString"; known options: /)
  })

  t.test('rejects a group that is not an object', async (t) => {
    t.match(await refusal(t, { database: {}, token: null }), { message: 'token must be an object, got null' })
    t.match(await refusal(t, { database: {}, users: { columns: ['id'] } }), { message: 'users.columns must be an object, got an array' })
    t.match(await refusal(t, { database: {}, rateLimit: true }), { message: 'rateLimit must be an object or false, got true' })
    t.match(await refusal(t, { database: {}, rateLimit: null }), { message: 'rateLimit must be an object or false, got null' })
    t.match(await refusal(t, { database: {}, accountLimit: 5 }), { message: 'accountLimit must be an object or false, got 5' })
    t.match(await refusal(t, { database: {}, cache: { near: 1 as never } }), { message: 'cache.near must be an object or false or true, got 1' })
    t.match(await refusal(t, { database: {}, password: 'of the database' }), { message: 'password must be an object, got a string' })
    t.match(await refusal(t, { database: {}, password: false }), { message: 'password must be an object, got false' })
    t.match(await refusal(t, { database: {}, token: new Map([['ttl', '1h']]) }), { message: 'token must be an object, got an instance of Map' })
    t.throws(() => readOptions([] as never), { message: 'options must be an object, got an array' })
  })

  t.test('rejects a password.maxLength below password.minLength', async (t) => {
    const error = await refusal(t, { database: {}, password: { minLength: 100, maxLength: 64 } })
    t.match(error, { message: 'password.maxLength must be at least password.minLength (100), got 64' })
  })

  t.test('rejects delays that contradict each other', async (t) => {
    t.match(await refusal(t, { database: {}, accountLimit: { delay: '1m', maxDelay: '30s' } }), { message: 'accountLimit.maxDelay must be at least accountLimit.delay, got 30000' })
    t.match(await refusal(t, { database: {}, accountLimit: { forgetAfter: '1h' } }), { message: 'accountLimit.forgetAfter must be longer than accountLimit.maxDelay, got 3600000' })
  })

  t.test('rejects a local limit above the shared one', async (t) => {
    for (const limit of ['rateLimit', 'accountLimit']) {
      t.match(await refusal(t, { database: {}, [limit]: { max: 3, localMax: 4 } }), { message: `${limit}.localMax must be at most ${limit}.max (3), got 4` })
    }
  })

  t.test('rejects unknown options of hashers', async (t) => {
    t.throws(() => bcrypt({ rounds: 14 } as object), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /Unknown option "rounds" of bcrypt\(\); known options: cost, threads/ })
    t.throws(() => argon2id({ memory: 65536 } as object), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /Unknown option "memory" of argon2id/ })
  })

  t.test('rejects users.select with the password hash, the id or the username', async (t) => {
    const message = (name: string) => `users.select must not name "${name}": request.user has its id and username anyway, and never the password hash`
    t.match(await refusal(t, { database: {}, users: { select: ['email', 'password_hash'] } }), { message: message('password_hash') })
    t.match(await refusal(t, { database: {}, users: { columns: { passwordHash: 'secret' }, select: ['secret'] } }), { message: message('secret') })
    t.match(await refusal(t, { database: {}, users: { select: ['id'] } }), { message: message('id') })
  })

  t.test('every default passes its own rule', async (t) => {
    for (const [path, { fallback, rule }] of Object.entries(OPTIONS)) {
      if (fallback !== undefined) t.doesNotThrow(() => (rule as Rule<unknown>)(fallback, path), path)
    }
    t.match(readOptions({ database: {} }), { token: { ttlMs: 30 * 86_400_000 }, rateLimit: { max: 20 }, autoMigrate: false })
  })

  t.test('an undefined option gets its default, and the host\'s objects are not changed', async (t) => {
    const options = { database: {}, token: Object.freeze({ ttl: undefined, prefix: 'abc' }), rateLimit: undefined, prefix: undefined }
    const before = structuredClone(options)
    const settings = readOptions(options as unknown as AuthPluginOptions)
    t.match(settings, { token: { ttlMs: 30 * 86_400_000, prefix: 'abc' }, rateLimit: { max: 20 }, prefix: '/auth' })
    t.same(options, before)
    t.ok(Object.isFrozen(settings))
  })

  t.test('bcrypt() rejects a cost out of range', async (t) => {
    for (const cost of [3, 17, 10.5, Number.NaN]) t.throws(() => bcrypt({ cost }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION' })
  })
})

t.test('unsafe client settings', async (t) => {
  const unsafe = { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /^database\.query_timeout is unsafe with transactions: use statement_timeout/ }

  t.test('rejects database.query_timeout in the options, the URL and a pool', async (t) => {
    t.match(await refusal(t, { database: { connectionString: database.url, query_timeout: 1000 } }), unsafe)
    t.match(await refusal(t, { database: { connectionString: `${database.url}?query_timeout=1000` } }), unsafe)
    const pool = openPool(t, { connectionString: database.url, query_timeout: 1000 })
    t.match(await refusal(t, { database: pool }), unsafe)
  })

  t.test('a query_timeout of 0 counts as none', async (t) => {
    await createApp(t, testOptions(database.url, { database: { connectionString: database.url, query_timeout: 0 } }))
  })

  const UNSAFE_REDIS: [string, unknown, unknown][] = [['enableOfflineQueue', true, false], ['autoResendUnfulfilledCommands', true, false], ['maxRetriesPerRequest', 20, 0], ['maxRetriesPerRequest', null, 0]]
  for (const [name, value, wanted] of UNSAFE_REDIS) {
    t.test(`rejects redis.${name}: ${value}`, async (t) => {
      const message = new RegExp(`^redis\\.${name} must be ${wanted}: otherwise writes queued`)
      t.match(await refusal(t, { database: {}, redis: { url: redisUrl(), [name]: value } }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
      t.match(await refusal(t, { database: {}, redis: { url: `${redisUrl()}?${name}=${value}` } }), { message })
    })
  }

  t.test('the safe values may be set explicitly', async (t) => {
    const redis = { url: redisUrl(), enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 }
    await roundTrip(t, await createApp(t, testOptions(database.url, { redis })))
  })
})

t.test('an address under another name is rejected: the driver would connect to its default', async (t) => {
  const names = { database: ['url', 'URI', 'conectionString', 'connection_string', 'connectionUrl', 'dsn'], redis: ['URL', 'connectionString', 'uri', 'socket', 'connection'] }
  for (const [option, keys] of Object.entries(names)) {
    for (const key of keys) {
      const error = await refusal(t, { database: {}, [option]: { [key]: 'redis://:secret@cache' } })
      t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `Unknown setting "${option}.${key}": the address is ${option}.${option === 'redis' ? 'url' : 'connectionString'}` })
      t.notMatch(error.message, 'secret')
    }
  }
  const fine = { connectionTimeoutMillis: 1, connectionString: 'postgres://127.0.0.1:1/none' }
  const host = Fastify()
  t.teardown(() => host.close())
  await t.rejects(async () => await host.register(authPlugin, { database: fine, redis: null }), { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE' })
})

t.test('an address that is missing is rejected, as from an unset variable', async (t) => {
  const bad = [{ redis: { url: undefined } }, { redis: { url: '' } }, { database: { connectionString: undefined } }, { redis: { __proto__: null, url: '' } }, { database: { __proto__: null, connectionString: '' } },
    { redis: { host: undefined, port: 6379 } }, { redis: { host: '' } }, { redis: { path: '' } }, { database: { host: undefined } }, { database: { host: '', port: 5432 } },
    { redis: { host: 'cache', port: NaN } }, { database: { host: 'db', port: '' } }, { database: { host: 'db', user: '' } }, { database: { host: 'db', database: '' } }]
  for (const options of bad) {
    const host = Fastify()
    t.teardown(() => host.close())
    await t.rejects(async () => await host.register(authPlugin, { ...testOptions(database.url), ...options as object }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /^(redis|database)\.(url|connectionString|host|path|port|user|database) must be a (URL that begins with .+|host name|path|port|name), got/ })
  }
  for (const redis of [{}, { hots: '10.0.0.1' }, { port: 6380 }, { keyPrefix: 'a' }, { sentinels: undefined }, { Connector: null }]) {
    t.match(await refusal(t, { database: {}, redis }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: 'redis names no server: set redis.url, or redis.host' })
  }
  for (const [option, at] of [['redis', { hostname: 'secret' }], ['database', { hostName: 'secret', user: 'a' }]] as const) {
    t.match(await refusal(t, { database: {}, [option]: at }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `": the host is ${option}.host` })
  }
  for (const [option, at, right] of [['redis', { host: 'a', ssl: true }, 'redis.tls'], ['database', { host: 'a', tls: {} }, 'database.ssl']] as const) {
    t.match(await refusal(t, { database: {}, [option]: at }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `": TLS is ${right}` })
  }
  const { hostname, port, username, password, pathname } = new URL(database.url)
  for (const given of [port, Number(port)]) {
    await createApp(t, testOptions(database.url, { database: { host: hostname, port: given as number, user: username, ...password === '' ? {} : { password }, database: pathname.slice(1) } }))
  }
})

t.test('a setting of a connection that is undefined is rejected: pg would use a variable of its own', async (t) => {
  for (const [name, expected] of [['connectionString', 'a URL that begins with postgres:// or postgresql://'], ['host', 'a host name'], ['port', 'a port'], ['database', 'a name'], ['user', 'a name'], ['password', 'a string or a function']]) {
    t.match(await refusal(t, { database: { host: '127.0.0.1', [name!]: undefined } }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `database.${name} must be ${expected}, got undefined, as from an environment variable that is not set` })
  }
})

t.test('a password is a text or a function, and is not shown', async (t) => {
  for (const [password, got] of [[20_261_127, 'a number'], [null, 'null'], [{ secret: 1 }, 'an object']]) {
    t.match(await refusal(t, { database: { host: '127.0.0.1', password } }), { message: `database.password must be a string or a function, got ${got}` })
  }
  for (const password of ['', 'secret', async () => 'secret']) t.doesNotThrow(() => readOptions({ database: { host: '127.0.0.1', password } }))
})

t.test('a text of the first message to PostgreSQL is no other value: it would end the process', async (t) => {
  for (const name of ['options', 'application_name', 'fallback_application_name']) {
    t.match(await refusal(t, { database: { connectionString: database.url, [name]: {} } }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `database.${name} must be a string, got an object` })
    t.doesNotThrow(() => readOptions({ database: { [name]: undefined } }))
  }
})

t.test('an undefined setting leaves the plugin\'s own in force', async (t) => {
  const { server, warnings } = logTo()
  const limits = { statement_timeout: undefined, lock_timeout: undefined, idle_in_transaction_session_timeout: undefined }
  await createApp(t, testOptions(database.url, { database: { connectionString: database.url, ...limits } }), { server })
  t.notMatch(warnings().join(), /lack server-side time limits/)
  const redis = openRedis({ url: redisUrl(), commandTimeout: undefined }, SILENT)
  t.teardown(() => redis.disconnect())
  t.match(redis.options, { commandTimeout: 500 })
})

t.test('a setting that pg does not have is rejected with the one that was meant', async (t) => {
  const ADVICE: Record<string, string> = {
    pasword: 'did you mean database.password?',
    hots: 'did you mean database.host?',
    username: 'did you mean database.user?',
    dbName: 'did you mean database.database?',
    statementTimeout: 'did you mean database.statement_timeout?',
    sslmode: 'did you mean database.ssl?',
    type: 'remove it, the database is PostgreSQL in any case',
    schema: 'remove it, the schemas are token.schema and users.schema',
    retries: 'pg has none of this name. If yours has, pass a pg.Pool',
    pg: 'pg has none of this name. If yours has, pass a pg.Pool'
  }
  for (const [name, advice] of Object.entries(ADVICE)) {
    const error = await refusal(t, { database: { connectionString: database.url, [name]: 'secret' } })
    t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `Unknown setting "database.${name}": ${advice}` })
    t.notMatch(error.message, 'secret')
  }
})

t.test('every setting in the types of pg is known', async (t) => {
  const source = readFileSync('node_modules/@types/pg/index.d.ts', 'utf8')
  const names = ['ClientConfig', 'PoolConfig'].flatMap((type) => [...new RegExp(`interface ${type} .*?\n}`, 's').exec(source)![0].matchAll(/^ {4}(\w+)\?:/gm)].map(([, name]) => name!))
  t.ok(names.length > 30)
  for (const name of names) t.doesNotThrow(() => refuseUnknownSettings({ [name]: 1 }))
})

t.test('a Redis URL whose database is not a number is rejected', async (t) => {
  const host = Fastify()
  t.teardown(() => host.close())
  await t.rejects(async () => await host.register(authPlugin, testOptions(database.url, { redis: { url: 'redis://127.0.0.1:6379/abc' } })), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /number of a database/ })
})

const UNREADABLE = (path: string) => `${path} cannot be read: special characters of a password must be percent-encoded, such as %23 for #`

t.test('a URL of another server is rejected by its scheme: the driver would take it for something else', async (t) => {
  const URLS: [string, string][] = [
    ['mysql://me:hunter2@db/app', 'one that begins with mysql://'], ['mongodb+srv://me:hunter2@db/app', 'one that begins with mongodb+srv://'],
    ['jdbc:postgresql://db/app?password=hunter2', 'one that begins with jdbc:postgresql://'], ['http://me:hunter2@cache', 'one that begins with http://'],
    ['"postgres://me:hunter2@db/app"', 'one in quotes'], ["'redis://:hunter2@cache'", 'one in quotes'], ['me:hunter2@db/app', 'another text'], ['', '""']
  ]
  for (const [url, got] of URLS) {
    t.match(await refusal(t, { database: { connectionString: url } }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `database.connectionString must be a URL that begins with postgres:// or postgresql://, got ${got}` })
    const error = await refusal(t, { database: {}, redis: { url } })
    t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `redis.url must be a URL that begins with redis:// or rediss://, or the path of a socket, got ${got}` })
    t.notMatch(error.message, 'hunter2')
  }
  t.match(await refusal(t, { database: { connectionString: new URL(database.url) } }), { message: 'got an instance of URL' })
  for (const connectionString of ['/var/run/postgresql app', 'socket:/var/run/postgresql?db=app', 'postgresql:///app?host=/tmp&user=me@tenant']) t.doesNotThrow(() => readOptions({ database: { connectionString } }))
  for (const url of ['/tmp/redis.sock', 'rediss://cache']) t.doesNotThrow(() => readOptions({ database: {}, redis: { url } }))
})

t.test('a URL of PostgreSQL that cannot be read is rejected without its secrets', async (t) => {
  for (const password of ['hunter2#ss/w?rd', '123#hunter2', '123/hunter2', '123?hunter2', '%E0%A4hunter2']) {
    const error = await refusal(t, { database: { connectionString: `postgres://me:${password}@127.0.0.1:1/app` } })
    t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: UNREADABLE('database.connectionString') })
    t.notMatch(inspect(error, { showHidden: true, depth: 9 }), 'hunter2')
  }
  t.match(await refusal(t, { database: openPool(t, { connectionString: 'postgres://me:hunter2#@db' }) }), { message: UNREADABLE('database.connectionString') })
  t.match(await refusal(t, { database: { connectionString: 'postgres://me@127.0.0.1:1/app?sslrootcert=/none' } }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /^database cannot be used by pg: ENOENT: .*\/none/ })
})

t.test('a Redis URL that cannot be read is rejected without its secrets', async (t) => {
  for (const url of ['redis://hunter2:12/3@cache', 'redis://:hunter2@cache:port', 'redis://:hunter2%zz@cache']) {
    const error = await refusal(t, testOptions(database.url, { redis: { url } }))
    t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: UNREADABLE('redis.url') })
    t.notMatch(inspect(error, { showHidden: true, depth: 9 }), 'hunter2')
  }
})

t.test('handles of other libraries are rejected by name', async (t) => {
  const at = 'postgres://nobody@127.0.0.1:1/nothing'
  const pool = openPool(t, { connectionString: at })
  const host = Fastify()
  t.teardown(() => host.close())
  await host.register(fastifyPostgres, { connectionString: database.url })
  const pglite = new PGlite()
  t.teardown(() => pglite.close())
  const redis = new Redis('redis://127.0.0.1:1', { lazyConnect: true })
  // It has settings for MongoDB under the name of one of pg's, which PostgreSQL would get.
  class MongoClient { options = { hosts: ['secret'] } }
  class Tarn { acquire () {}; numUsed () {} }
  const DATABASES: [unknown, string][] = [
    [new Kysely({ dialect: new MysqlDialect({ pool: {} as never }) }), 'a Kysely on another database'],
    [new Kysely({ dialect: new SqliteDialect({ database: {} as never }) }), 'a Kysely on another database'],
    [{ select () {}, insert () {}, execute () {}, $client: pool }, 'a Drizzle database: pass its pg.Pool'],
    [host.pg, 'the decorator of @fastify/postgres: pass its property pool'],
    [new pg.Client({ connectionString: at }), 'a pg.Client: pass a pg.Pool'],
    [postgres(at), 'a postgres.js client: pass { connectionString }'],
    [{ $connect () {}, $transaction () {} }, 'a Prisma client: pass { connectionString }'],
    [await import('pg'), 'an ES module: pass what it exports'],
    [Promise.resolve(pool), 'a promise: await it'],
    [new URL(at), 'a URL: pass { connectionString: url.href }'],
    [pglite, 'a PGlite: pass createPGlitePool(pglite)'],
    [Object.assign(() => {}, { raw () {}, select () {} }), 'a Knex: pass { connectionString }'],
    [new Tarn(), 'the pool of a Knex: pass a pg.Pool'],
    [{ getConnection () {}, query () {} }, 'a pool of MySQL: the plugin needs PostgreSQL'],
    [{ connect () {}, end () {}, changeUser () {} }, 'a connection to MySQL: the plugin needs PostgreSQL'],
    [redis, 'an ioredis client: pass it as the option redis'],
    [new MongoClient(), 'an instance of MongoClient'],
    [new Map(), 'an instance of Map'],
    [Object.create({ host: '127.0.0.1' }), 'an instance of Object'],
    [new (class {})(), 'an instance of a class'],
    [Object.create(Object.create(Object.create(null))), 'an instance of a class']
  ]
  for (const [handle, got] of DATABASES) {
    t.match(await refusal(t, { database: handle }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `got ${got}` })
  }
  const REDISES: [unknown, string][] = [
    [createClient({ url: 'redis://127.0.0.1:1' }), 'a client of the package redis: pass its { url }, or a client of ioredis'],
    [await import('ioredis'), 'an ES module: pass what it exports'],
    [Promise.resolve(redis), 'a promise: await it'],
    [new URL('redis://127.0.0.1:1'), 'a URL: pass { url: url.href }'],
    [Object.assign(Object.create(null), { sessions: redis }), 'fastify.redis with namespaces: pass the client fastify.redis.<namespace>'],
    [new Map([['url', 'redis://127.0.0.1:1']]), 'an instance of Map']
  ]
  for (const [handle, got] of REDISES) {
    t.match(await refusal(t, { database: { connectionString: at }, redis: handle }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `got ${got}` })
  }
  for (const kept of [pool, host.pg.pool, new Kysely({ dialect: new PostgresDialect({ pool }) }), { connectionString: at }]) t.equal(OPTIONS.database.rule(kept, 'database'), kept)
})
