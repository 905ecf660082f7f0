import type { AuthPluginOptions } from '../../types/options.js'
import { INVALID_OPTION, UNAVAILABLE } from '../errors.js'
import { OPTIONS } from './table.js'
import type { Values } from './table.js'
import { isPlainObject, refuse, refuseMissing } from './rules.js'
import type { Rule } from './rules.js'
import { toTableMap } from './table-map.js'
import type { TableMap } from '../sql/tables.js'

/** Fastify's own register options that may stand beside ours. */
const FASTIFY_OPTIONS = ['logLevel', 'logSerializers']
/** Groups of options, with what they may be as well. */
const GROUPS: Record<string, unknown[]> = {
  token: [], cache: [], 'cache.near': [false, null], users: [], 'users.columns': [], lookup: [], rateLimit: [false], accountLimit: [false], hashing: [], password: [], hooks: []
}

export type Settings = Readonly<ReturnType<typeof readOptions>>

/**
 * Checks the host's options and fills in the defaults. The host's objects are neither changed nor kept.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function readOptions (options: AuthPluginOptions) {
  if (!isPlainObject(options)) refuse('options', 'an object', options)
  refuseUnknown(options, '')
  const values = readAll(withoutFalse(options))
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
    cache: { ttlMs: values['cache.ttl'], timeoutMs: values['cache.timeout'], namespace: values['cache.namespace'], max: values['cache.max'], near: nearSettings(values, options) },
    revocation: values.revocation,
    map,
    lookup: {
      concurrency: values['lookup.concurrency'],
      queue: values['lookup.queue'],
      maxWaitMs: values['lookup.maxWait'],
      timeoutMs: values['lookup.timeout']
    },
    rateLimit: options.rateLimit === false ? null : rateLimit(values),
    accountLimit: options.accountLimit === false ? null : accountLimit(values),
    captcha: typeof values.captcha === 'function' ? { verify: values.captcha } : values.captcha,
    hasher: values.hasher,
    verifiers: values.verifiers,
    hashing: { concurrency: values['hashing.concurrency'], queue: values['hashing.queue'], maxWaitMs: values['hashing.maxWait'] },
    password: {
      minLength: values['password.minLength'],
      maxLength: values['password.maxLength'],
      common: values['password.common'],
      contextWords: values['password.contextWords'],
      breached: values['password.breached'],
      check: values['password.check']
    },
    canonicalize: values['users.canonicalize'] === null ? asTyped : checked(values['users.canonicalize']),
    start: values.start,
    autoMigrate: values.autoMigrate,
    hooks: options.hooks ?? {},
    now: values.now,
    randomBytes: values.randomBytes
  })
}

// `false` switches a limit off; its settings are then read as if they were left out.
function withoutFalse ({ rateLimit, accountLimit, ...options }: AuthPluginOptions): object {
  return { ...options, rateLimit: rateLimit || undefined, accountLimit: accountLimit || undefined }
}

function asTyped (username: string): string {
  return username
}

// What goes wrong in it is not told: its error may quote the name, which may be a password.
function checked (canonicalize: (username: string) => unknown): (username: string) => string {
  return (username) => {
    let name: unknown
    try {
      name = canonicalize(username)
    } catch {}
    if (typeof name === 'string') return name
    Promise.resolve(name).catch(() => {})
    throw new UNAVAILABLE({ cause: new Error('users.canonicalize failed, or returned something else than a text') })
  }
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
    // A text in its place, as in `password: '...'`, may be a secret.
    if (!isPlainObject(value)) refuse(path, 'an object', value, typeof value === 'string' ? 'a string' : undefined)
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

function rateLimit (values: Values) {
  const max = values['rateLimit.max']
  return { max, localMax: localMax(values, 'rateLimit'), timeWindowMs: values['rateLimit.timeWindow'] }
}

function accountLimit (values: Values) {
  const max = values['accountLimit.max']
  const waits = { delayMs: values['accountLimit.delay'], maxDelayMs: values['accountLimit.maxDelay'], forgetMs: values['accountLimit.forgetAfter'] }
  if (waits.maxDelayMs < waits.delayMs) refuse('accountLimit.maxDelay', 'at least accountLimit.delay', waits.maxDelayMs)
  if (waits.forgetMs <= waits.maxDelayMs) refuse('accountLimit.forgetAfter', 'longer than accountLimit.maxDelay', waits.forgetMs)
  return { shared: { free: max, ...waits }, local: { free: localMax(values, 'accountLimit'), ...waits } }
}

// Without Redis nobody knows how many processes count: with two of them the sum is what was asked for.
function localMax (values: Values, limit: 'rateLimit' | 'accountLimit'): number {
  const max = values[`${limit}.max`]
  const given = values[`${limit}.localMax`] ?? Math.ceil(max / 2)
  return given <= max ? given : refuse(`${limit}.localMax`, `at most ${limit}.max (${max})`, given)
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
