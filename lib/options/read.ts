import type { AuthPluginOptions } from '../../types/options.js'
import { readCaptcha } from '../captcha/options.js'
import { INVALID_OPTION, UNAVAILABLE } from '../errors.js'
import { refuseBundle } from '../tools/bundled.js'
import { refuseBadAddresses } from './address.js'
import { nearSettings } from './near.js'
import { OPTIONS } from './table.js'
import type { Values } from './table.js'
import { isPlainObject, readTable, refuse } from './rules.js'
import { toTableMap } from './table-map.js'
import type { TableMap } from './table-map.js'

/** Fastify's own options of `register`, which are allowed beside ours. */
const FASTIFY_OPTIONS = ['logLevel', 'logSerializers']
/** Groups of options, with the other values that they accept. */
const GROUPS: Record<string, unknown[]> = {
  decorators: [], openapi: [], token: [], cache: [], 'cache.near': [false, true, null], users: [], 'users.columns': [], lookup: [], rateLimit: [false], accountLimit: [false], hashing: [], password: [], hooks: []
}

/** A key of the options of a command, whose cache no other process needs to know. */
export const COMMAND = Symbol('command')

export type Settings = Readonly<ReturnType<typeof readOptions>>

/**
 * Checks the options and fills in the defaults. The caller's objects are neither changed nor kept.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function readOptions (options: AuthPluginOptions) {
  if (!isPlainObject(options)) refuse('options', 'an object', options)
  refuseUnknown(options, '')
  const values = readAll(withoutFalse(options))
  refuseImpossibleLengths(values)
  refuseBadAddresses(values)
  // Stored bcrypt hashes are verified with any hasher. Before the database is opened: kysely may be missing in a bundle, too.
  refuseBundle('the verifier of bcrypt hashes')
  const map = toTableMap(values, options)
  return Object.freeze({
    database: values.database,
    redis: values.redis,
    prefix: values.prefix,
    realm: values.realm,
    schemes: values.schemes,
    decorators: decorators(values),
    openapi: {
      operationIdPrefix: values['openapi.operationIdPrefix'],
      tags: values['openapi.tags'],
      hostRoutes: values['openapi.hostRoutes'],
      transform: values['openapi.transform']
    },
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
    captcha: values.captcha === null ? null : readCaptcha(values.captcha),
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
    isCommand: Object.hasOwn(options, COMMAND),
    randomBytes: values.randomBytes
  })
}

// `false` switches a limit off. Its settings are then read as if they were missing.
function withoutFalse ({ rateLimit, accountLimit, ...options }: AuthPluginOptions): object {
  return { ...options, rateLimit: rateLimit || undefined, accountLimit: accountLimit || undefined }
}

function asTyped (username: string): string {
  return username
}

// Its error is not passed on: it may quote the username, and users type passwords there.
function checked (canonicalize: (username: string) => unknown): (username: string) => string {
  return (username) => {
    let name: unknown
    try {
      name = canonicalize(username)
    } catch {}
    if (typeof name === 'string') return name
    Promise.resolve(name).catch(() => {})
    throw new UNAVAILABLE({ cause: new Error('users.canonicalize failed, or did not return a string') })
  }
}

function readAll (options: object): Values {
  const given = Object.keys(OPTIONS).map((path) => [path, path.split('.').reduce<any>((value, key) => value?.[key], options)])
  return readTable<Values>(OPTIONS, Object.fromEntries(given), { prefix: '' })
}

function refuseUnknown (group: object, at: string): void {
  for (const [key, value] of Object.entries(group)) {
    const path = at + key
    if (Object.hasOwn(OPTIONS, path) || (at === '' && FASTIFY_OPTIONS.includes(key))) continue
    if (!Object.hasOwn(GROUPS, path)) throw new INVALID_OPTION(`Unknown option "${path}"; known options: ${siblings(at).join(', ')}`)
    if (value === undefined || GROUPS[path]!.includes(value)) continue
    // A string in its place, as in `password: '...'`, may be a secret.
    if (!isPlainObject(value)) refuse(path, shapeOf(GROUPS[path]!), value, typeof value === 'string' ? 'a string' : undefined)
    refuseUnknown(value, `${path}.`)
  }
}

function shapeOf (others: unknown[]): string {
  return ['an object', ...others.filter((other) => typeof other === 'boolean')].join(' or ')
}

function siblings (at: string): string[] {
  const names = Object.keys(OPTIONS).filter((path) => path.startsWith(at)).map((path) => path.slice(at.length).split('.')[0] as string)
  return [...new Set(names)]
}

function decorators (values: Values) {
  const names = { authenticate: values['decorators.authenticate'], tokenAuth: values['decorators.tokenAuth'], user: values['decorators.user'], auth: values['decorators.auth'] }
  if (names.authenticate === names.tokenAuth) refuse('decorators.tokenAuth', 'another name than decorators.authenticate', names.tokenAuth)
  if (names.user === names.auth) refuse('decorators.auth', 'another name than decorators.user', names.auth)
  return names
}

// At most a quarter of the idle limit: a delayed touch must not make a used session look idle.
function touchInterval (values: Values): number {
  const idleTtl = values['token.idleTtl']
  return idleTtl === null ? values['token.touchInterval'] : Math.min(values['token.touchInterval'], idleTtl / 4)
}

function rateLimit (values: Values) {
  const max = values['rateLimit.max']
  return { max, localMax: localMax(values, 'rateLimit'), timeWindowMs: values['rateLimit.timeWindow'], allowList: values['rateLimit.allowList'], keyPrefix: limitKeyPrefix(values) }
}

// Two registrations with tables of their own do not share the logins of an address.
function limitKeyPrefix ({ 'cache.namespace': namespace, 'token.schema': schema, 'token.table': table }: Values): string {
  return `${namespace}l:${schema === null ? '' : `${schema}.`}${table}:`
}

function accountLimit (values: Values) {
  const max = values['accountLimit.max']
  const waits = { delayMs: values['accountLimit.delay'], maxDelayMs: values['accountLimit.maxDelay'], forgetMs: values['accountLimit.forgetAfter'] }
  if (waits.maxDelayMs < waits.delayMs) refuse('accountLimit.maxDelay', 'at least accountLimit.delay', waits.maxDelayMs)
  if (waits.forgetMs <= waits.maxDelayMs) refuse('accountLimit.forgetAfter', 'longer than accountLimit.maxDelay', waits.forgetMs)
  return { shared: { free: max, ...waits }, local: { free: localMax(values, 'accountLimit'), ...waits } }
}

// The number of processes is unknown. With two of them, half of the limit each adds up to the limit.
function localMax (values: Values, limit: 'rateLimit' | 'accountLimit'): number {
  const max = values[`${limit}.max`]
  const given = values[`${limit}.localMax`] ?? Math.ceil(max / 2)
  return given <= max ? given : refuse(`${limit}.localMax`, `at most ${limit}.max (${max})`, given)
}

/** Only the table map, for tools that have no other option. */
export function readTableMap (options: Pick<AuthPluginOptions, 'users' | 'token'>): TableMap {
  return readOptions({ ...options, database: {} }).map
}

function refuseImpossibleLengths ({ 'password.minLength': least, 'password.maxLength': most }: Values): void {
  if (most < least) refuse('password.maxLength', `at least password.minLength (${least})`, most)
}
