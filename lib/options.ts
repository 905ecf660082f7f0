import { randomBytes } from 'node:crypto'
import type { AuthHooks } from '../types/events.js'
import type { AuthPluginOptions, DatabaseOption, RedisOption } from '../types/options.js'
import type { Captcha, Hasher, Now, RandomBytes } from '../types/ports.js'
import { INVALID_OPTION } from './errors.js'
import { boolean, callable, duration, handle, integer, isPlainObject, list, nullable, oneOf, refuse, refuseMissing, text, withMethods } from './option-rules.js'
import type { Rule } from './option-rules.js'
import { toTableMap } from './option-tables.js'
import { isKysely, isPool } from './stores/database.js'
import { isClient } from './stores/redis-client.js'
import type { TableMap } from './stores/tables.js'

const SECOND = 1000
const identifier = text('a name of 1 to 63 characters', /^[^\0]{1,63}$/u)

function entry<Result> (fallback: unknown, rule: Rule<Result>): { fallback: unknown, rule: Rule<Result> } {
  return { fallback, rule }
}

/** Every option, its default and its rule: the one table. `undefined` means "none by default". */
export const OPTIONS = {
  database: entry(undefined, handle<DatabaseOption>('a Kysely on PostgreSQL, a pg.Pool or a pool\'s configuration such as { connectionString }', isKysely, isPool, isPlainObject)),
  redis: entry(null, nullable(handle<RedisOption>('an ioredis client, its options such as { url }, or true for fastify.redis', (value) => value === true, isClient, isPlainObject))),
  prefix: entry('/auth', text('a path such as "/auth", without a slash at its end', /^(\/[\w.~-]+)*$/)),
  realm: entry('api', text('1 to 60 printable ASCII characters without quotes and backslashes', /^[ !#-[\]-~]{1,60}$/)),
  schemes: entry(['Bearer', 'Token'], list(oneOf('Bearer', 'Token'), { min: 1 })),
  'token.ttl': entry('30d', duration({ min: 60 * SECOND })),
  'token.idleTtl': entry(null, nullable(duration({ min: 60 * SECOND }))),
  'token.touchInterval': entry('1m', duration({ min: 50, max: 3600 * SECOND })),
  'token.prefix': entry('fta', text('2 to 12 letters or digits', /^[A-Za-z0-9]{2,12}$/)),
  'token.maxPerUser': entry(100, integer({ min: 1, max: 10_000 })),
  'token.table': entry('auth_tokens', identifier),
  'token.schema': entry(null, nullable(identifier)),
  'token.retention': entry('7d', duration({ min: 3600 * SECOND })),
  'cache.ttl': entry('5m', duration({ min: 1 * SECOND, max: 86_400 * SECOND })),
  'cache.namespace': entry('fta:', text('1 to 60 printable ASCII characters without spaces', /^[!-~]{1,60}$/)),
  'cache.max': entry(50_000, integer({ min: 1, max: 10_000_000 })),
  'cache.near.ttl': entry('1s', duration({ min: 50, max: 10 * SECOND })),
  'cache.near.max': entry(10_000, integer({ min: 1, max: 1_000_000 })),
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
  'users.idType': entry(null, nullable(oneOf('uuid', 'integer', 'bigint'))),
  'lookup.concurrency': entry(null, nullable(integer({ min: 1, max: 1000 }))),
  'lookup.queue': entry(1000, integer({ min: 0, max: 1_000_000 })),
  'lookup.maxWait': entry('500ms', duration({ min: 1, max: 60 * SECOND })),
  'lookup.timeout': entry('3s', duration({ min: 10, max: 60 * SECOND })),
  'rateLimit.max': entry(5, integer({ min: 1, max: 1_000_000 })),
  'rateLimit.timeWindow': entry('1 minute', duration({ min: 1 * SECOND, max: 86_400 * SECOND })),
  captcha: entry(null, nullable(withMethods<Captcha>('a captcha provider such as recaptcha({ secret })', ['verify']))),
  hasher: entry(null, nullable(withMethods<Hasher>('a hasher such as bcrypt({ cost: 12 })', ['hash', 'verify', 'needsRehash']))),
  'password.minLength': entry(8, integer({ min: 8, max: 1024 })),
  'password.maxLength': entry(1024, integer({ min: 64, max: 1024 })),
  start: entry('strict', oneOf('strict', 'degraded')),
  autoMigrate: entry(false, boolean()),
  now: entry(Date.now, callable<Now>()),
  randomBytes: entry(randomBytes, callable<RandomBytes>()),
  'hooks.onLogin': entry(null, nullable(callable<AuthHooks['onLogin']>())),
  'hooks.onLoginFailed': entry(null, nullable(callable<AuthHooks['onLoginFailed']>())),
  'hooks.onLogout': entry(null, nullable(callable<AuthHooks['onLogout']>())),
  'hooks.onPasswordChanged': entry(null, nullable(callable<AuthHooks['onPasswordChanged']>())),
  'hooks.onRevoked': entry(null, nullable(callable<AuthHooks['onRevoked']>())),
  'hooks.onCacheError': entry(null, nullable(callable<AuthHooks['onCacheError']>()))
} as const

type Path = keyof typeof OPTIONS
export type Values = { [P in Path]: typeof OPTIONS[P] extends { rule: Rule<infer Result> } ? Result : never }

/** Fastify's own register options that may stand beside ours. */
const FASTIFY_OPTIONS = ['logLevel', 'logSerializers']
/** Groups of options, with what they may be as well. */
const GROUPS: Record<string, unknown[]> = {
  token: [], cache: [], 'cache.near': [false, null], users: [], 'users.columns': [], lookup: [], rateLimit: [false], password: [], hooks: []
}

export type Settings = Readonly<ReturnType<typeof readOptions>>

/**
 * Checks the host's options and fills in the defaults. The host's objects are neither changed nor kept.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function readOptions (options: AuthPluginOptions) {
  if (!isPlainObject(options)) refuse('options', 'an object', options)
  refuseUnknown(options, '')
  const isLimited = (options.rateLimit as unknown) !== false
  const values = readAll(isLimited ? options : { ...options, rateLimit: undefined })
  refuseImpossibleLengths(values)
  refuseMissing(values.database, 'connectionString', 'database')
  if (isPlainObject(values.redis)) refuseMissing(values.redis, 'url', 'redis')
  const map = toTableMap(values, options)
  return Object.freeze({
    database: values.database,
    redis: values.redis,
    prefix: values.prefix,
    realm: values.realm,
    schemes: values.schemes,
    token: {
      ttlMs: values['token.ttl'],
      idleTtlMs: values['token.idleTtl'],
      touchIntervalMs: touchInterval(values),
      prefix: values['token.prefix'],
      maxPerUser: values['token.maxPerUser'],
      retentionMs: values['token.retention']
    },
    cache: { ttlMs: values['cache.ttl'], namespace: values['cache.namespace'], max: values['cache.max'], near: nearSettings(values, options) },
    revocation: values.revocation,
    map,
    lookup: {
      concurrency: values['lookup.concurrency'],
      queue: values['lookup.queue'],
      maxWaitMs: values['lookup.maxWait'],
      timeoutMs: values['lookup.timeout']
    },
    rateLimit: isLimited ? { max: values['rateLimit.max'], timeWindowMs: values['rateLimit.timeWindow'] } : null,
    captcha: values.captcha,
    hasher: values.hasher,
    password: { minLength: values['password.minLength'], maxLength: values['password.maxLength'] },
    start: values.start,
    autoMigrate: values.autoMigrate,
    hooks: options.hooks ?? {},
    now: values.now,
    randomBytes: values.randomBytes
  })
}

function readAll (options: object): Values {
  const entries = Object.entries(OPTIONS).map(([path, { fallback, rule }]) => {
    const given = path.split('.').reduce<any>((value, key) => value?.[key], options)
    return [path, (rule as Rule<unknown>)(given ?? (given === null ? null : fallback), path)]
  })
  return Object.fromEntries(entries) as Values
}

function refuseUnknown (group: object, at: string): void {
  for (const [key, value] of Object.entries(group)) {
    const path = at + key
    if (Object.hasOwn(OPTIONS, path) || (at === '' && FASTIFY_OPTIONS.includes(key))) continue
    if (!Object.hasOwn(GROUPS, path)) throw new INVALID_OPTION(`Unknown option "${path}"; there are: ${siblings(at).join(', ')}`)
    if (value === undefined || GROUPS[path]!.includes(value)) continue
    if (!isPlainObject(value)) refuse(path, 'an object', value)
    refuseUnknown(value, `${path}.`)
  }
}

function siblings (at: string): string[] {
  const names = Object.keys(OPTIONS).filter((path) => path.startsWith(at)).map((path) => path.slice(at.length).split('.')[0] as string)
  return [...new Set(names)]
}

// A quarter of the idle limit at most: a touch that waits may not make a used session look idle.
function touchInterval (values: Values): number {
  const idleTtl = values['token.idleTtl']
  return idleTtl === null ? values['token.touchInterval'] : Math.min(values['token.touchInterval'], idleTtl / 4)
}

function nearSettings (values: Values, { cache }: AuthPluginOptions): { ttlMs: number, max: number } | null {
  if (!cache?.near) return null
  if (values.redis === null) throw new INVALID_OPTION('cache.near must be off without redis: the in-process cache is near already')
  return { ttlMs: values['cache.near.ttl'], max: values['cache.near.max'] }
}

/** The table map alone, for tools that know no other option. */
export function readTableMap (options: Pick<AuthPluginOptions, 'users' | 'token'>): TableMap {
  return readOptions({ ...options, database: {} }).map
}

function refuseImpossibleLengths ({ 'password.minLength': least, 'password.maxLength': most }: Values): void {
  if (most < least) refuse('password.maxLength', `at least password.minLength (${least})`, most)
}
