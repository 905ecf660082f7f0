import { randomBytes } from 'node:crypto'
import type { ClientConfig } from 'pg'
import type { AuthHooks } from '../../types/events.js'
import type { Now, OpenApiTransform, RandomBytes, UsersOptions } from '../../types/options.js'
import type { CaptchaOption } from '../../types/captcha.js'
import type { BreachedPasswords, Hasher, PasswordRule, PasswordVerifier } from '../../types/passwords.js'
import { networkList } from '../tools/client-address.js'
import { boolean, callable, duration, entry, handle, hasMethods, integer, isPlainObject, list, nullable, oneOf, refuse, text, withMethods } from './rules.js'
import type { Rule } from './rules.js'
import { databaseHandle, redisHandle } from './handle-rules.js'

const SECOND = 1000

const identifier = text('a name of 1 to 63 characters', /^[^\0]{1,63}$/u)

const decorator = text('a JavaScript name such as "authenticateToken"', /^[A-Za-z_$][\w$]{0,62}$/)

const network: Rule<string> = (value, path) => {
  try {
    networkList([value as string])
    return value as string
  } catch {
    return refuse(path, 'an address or a network such as "10.0.0.0/8"', value)
  }
}

/** Every option with its default and its rule. */
export const OPTIONS = {
  database: entry(undefined, databaseHandle),
  redis: entry(null, nullable(redisHandle)),
  prefix: entry('/auth', text('a path such as "/auth", without a slash at its end', /^(\/[\w.~-]+)*$/)),
  realm: entry('api', text('1 to 60 printable ASCII characters without quotes and backslashes', /^[ !#-[\]-~]{1,60}$/)),
  schemes: entry(['Bearer', 'Token'], list(oneOf('Bearer', 'Token'), { min: 1 })),
  'decorators.authenticate': entry('authenticate', decorator),
  'decorators.tokenAuth': entry('tokenAuth', decorator),
  'decorators.user': entry('user', decorator),
  'decorators.auth': entry('auth', decorator),
  'openapi.operationIdPrefix': entry('', text('at most 40 letters, digits, "_", "-" and "."', /^[\w.-]{0,40}$/)),
  'openapi.tags': entry(['auth'], list(text('a name of 1 to 100 characters', /^.{1,100}$/u), { min: 1 })),
  'openapi.hostRoutes': entry(true, boolean()),
  'openapi.transform': entry(null, nullable(callable<OpenApiTransform>())),
  'token.ttl': entry('30d', duration({ min: 60 * SECOND })),
  'token.idleTtl': entry(null, nullable(duration({ min: 60 * SECOND }))),
  'token.touchInterval': entry('1m', duration({ min: 50, max: 3600 * SECOND })),
  'token.prefix': entry('fta', text('2 to 12 letters or digits', /^[A-Za-z0-9]{2,12}$/)),
  'token.maxPerUser': entry(100, integer({ min: 1, max: 10_000 })),
  // PostgreSQL cuts names at 63 bytes, and migrations add "_migration_lock" to this one.
  'token.table': entry('auth_tokens', text('a name of 1 to 48 characters', /^[^\0]{1,48}$/u)),
  'token.schema': entry(null, nullable(identifier)),
  'token.retention': entry('7d', duration({ min: 3600 * SECOND })),
  'cache.ttl': entry('5m', duration({ min: 1 * SECOND, max: 86_400 * SECOND })),
  'cache.timeout': entry('100ms', duration({ min: 5, max: 10 * SECOND })),
  'cache.namespace': entry('fta:', text('1 to 60 printable ASCII characters without spaces', /^[!-~]{1,60}$/)),
  'cache.max': entry(50_000, integer({ min: 1, max: 10_000_000 })),
  'cache.near.lease': entry('2s', duration({ min: 500, max: 60 * SECOND })),
  'cache.near.max': entry(50_000, integer({ min: 1, max: 10_000_000 })),
  'cache.near.leaseRedis': entry(false, boolean()),
  'cache.near.connection': entry(null, nullable(handle<ClientConfig>('the settings of a connection such as { connectionString }', isPlainObject))),
  revocation: entry('strict', oneOf('strict', 'bounded')),
  'users.table': entry('users', identifier),
  'users.schema': entry(null, nullable(identifier)),
  'users.columns.id': entry('id', identifier),
  'users.columns.username': entry('username', identifier),
  'users.columns.passwordHash': entry('password_hash', identifier),
  'users.columns.active': entry('active', nullable(identifier)),
  'users.columns.lastLogin': entry('last_login', nullable(identifier)),
  'users.select': entry([], list(identifier, { min: 0 })),
  'users.activeWhen': entry(null, nullable(text('a SQL condition', /\S/))),
  'users.canonicalize': entry(null, nullable(callable<NonNullable<UsersOptions['canonicalize']>>())),
  'users.idType': entry(null, nullable(oneOf('uuid', 'integer', 'bigint', 'text'))),
  'lookup.concurrency': entry(null, nullable(integer({ min: 1, max: 1000 }))),
  'lookup.queue': entry(1000, integer({ min: 0, max: 1_000_000 })),
  'lookup.maxWait': entry('500ms', duration({ min: 1, max: 60 * SECOND })),
  'lookup.timeout': entry('3s', duration({ min: 10, max: 60 * SECOND })),
  'rateLimit.max': entry(20, integer({ min: 1, max: 1_000_000 })),
  'rateLimit.localMax': entry(null, nullable(integer({ min: 1, max: 1_000_000 }))),
  'rateLimit.timeWindow': entry('1 minute', duration({ min: 1 * SECOND, max: 86_400 * SECOND })),
  'rateLimit.allowList': entry([], list(network, { min: 0 })),
  'accountLimit.max': entry(5, integer({ min: 1, max: 100 })),
  'accountLimit.localMax': entry(null, nullable(integer({ min: 1, max: 100 }))),
  'accountLimit.delay': entry('1s', duration({ min: 100, max: 3600 * SECOND })),
  'accountLimit.maxDelay': entry('1h', duration({ min: 100, max: 86_400 * SECOND })),
  'accountLimit.forgetAfter': entry('1d', duration({ min: 60 * SECOND, max: 30 * 86_400 * SECOND })),
  captcha: entry(null, nullable(handle<CaptchaOption>('a captcha provider such as recaptcha({ secret }), or a function', (value) => typeof value === 'function', hasMethods('verify')))),
  hasher: entry(null, nullable(withMethods<Hasher>('a hasher such as bcrypt({ cost: 12 })', ['hash', 'verify', 'needsRehash']))),
  verifiers: entry([], list(withMethods<PasswordVerifier>('a verifier with understands and verify', ['understands', 'verify']), { min: 0 })),
  'hashing.concurrency': entry(null, nullable(integer({ min: 1, max: 256 }))),
  'hashing.queue': entry(64, integer({ min: 0, max: 100_000 })),
  'hashing.maxWait': entry('5s', duration({ min: 1, max: 60 * SECOND })),
  'password.minLength': entry(8, integer({ min: 8, max: 1024 })),
  'password.maxLength': entry(1024, integer({ min: 64, max: 1024 })),
  'password.common': entry(true, boolean()),
  'password.contextWords': entry([], list(text('a word of 3 characters or more', /^.{3,100}$/u), { min: 0 })),
  'password.breached': entry(null, nullable(withMethods<BreachedPasswords>('a list of breached passwords such as haveIBeenPwned()', ['isBreached']))),
  'password.check': entry(null, nullable(callable<PasswordRule>())),
  start: entry('strict', oneOf('strict', 'degraded')),
  autoMigrate: entry(false, boolean()),
  now: entry(Date.now, callable<Now>()),
  randomBytes: entry(randomBytes, callable<RandomBytes>()),
  'hooks.onLogin': entry(null, nullable(callable<AuthHooks['onLogin']>())),
  'hooks.onLoginFailed': entry(null, nullable(callable<AuthHooks['onLoginFailed']>())),
  'hooks.onLogout': entry(null, nullable(callable<AuthHooks['onLogout']>())),
  'hooks.onPasswordChanged': entry(null, nullable(callable<AuthHooks['onPasswordChanged']>())),
  'hooks.onPasswordChangeFailed': entry(null, nullable(callable<AuthHooks['onPasswordChangeFailed']>())),
  'hooks.onTokenRefused': entry(null, nullable(callable<AuthHooks['onTokenRefused']>())),
  'hooks.onRevoked': entry(null, nullable(callable<AuthHooks['onRevoked']>())),
  'hooks.onCacheError': entry(null, nullable(callable<AuthHooks['onCacheError']>()))
} as const

type Path = keyof typeof OPTIONS
export type Values = { [P in Path]: typeof OPTIONS[P] extends { rule: Rule<infer Result> } ? Result : never }
