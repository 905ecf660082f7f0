import type { Kysely, PostgresPool } from 'kysely'
import type { Pool, PoolConfig } from 'pg'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import type { AuthHooks } from './events.js'
import type { CaptchaOption } from './captcha.js'
import type { BreachedPasswords, Hasher, PasswordRule, PasswordVerifier } from './passwords.js'

/** Milliseconds since 1970. Injected so that tests move a clock instead of sleeping. */
export type Now = () => number

/** Cryptographically strong random bytes; `node:crypto`'s `randomBytes` by default. */
export type RandomBytes = (size: number) => Buffer

/** `'30d'`, `'15 minutes'`, or a number of milliseconds. */
export type Duration = string | number

/**
 * A Kysely on PostgreSQL, a `pg.Pool`, a stand-in for one such as `createPGlitePool()`, or a pool's configuration.
 * What the plugin makes itself it also closes; what it is given it leaves open.
 */
export type DatabaseOption = Kysely<any> | Pool | PostgresPool | PoolConfig

/** An ioredis client (it is duplicated with safe settings), its options with an optional `url`, or `true` for `fastify.redis`. */
export type RedisOption = Redis | Cluster | (RedisOptions & { url?: string | undefined }) | true

export interface UsersOptions {
  table?: string
  schema?: string
  /** The host's column names; `null` for one it doesn't have. */
  columns?: {
    id?: string
    username?: string
    passwordHash?: string
    active?: string | null
    lastLogin?: string | null
  }
  /** Further columns that become fields of `request.user`. */
  select?: readonly string[]
  /** A SQL condition over the users table's columns, in place of an `active` column: `"deleted_at is null"`. */
  activeWhen?: string
  /**
   * Turns a username as typed into the one to look up and to store: `(name) => name.normalize('NFKC').trim()` for Django's.
   * Without it names are compared as they are.
   */
  canonicalize?: (username: string) => string
  /** The id's type, where migrations are printed without a database; found in the database otherwise. */
  idType?: 'uuid' | 'integer' | 'bigint' | 'text'
}

export interface TokenOptions {
  ttl?: Duration
  idleTtl?: Duration | null
  touchInterval?: Duration
  prefix?: string
  maxPerUser?: number
  table?: string
  schema?: string
  retention?: Duration
}

export interface CacheOptions {
  ttl?: Duration
  /** Patience with Redis when a token is read; then PostgreSQL is asked. */
  timeout?: Duration
  namespace?: string
  /** Entries of the in-process cache. */
  max?: number
  /**
   * Keeps live tokens in the process as well, so that a request costs no round trip to Redis. Off by default: a server
   * that is not told of a revocation accepts the token for `ttl` more, also with `revocation: 'strict'`.
   * `request.user` is deep-frozen then. Needs Redis, and not a Cluster.
   */
  near?: null | false | NearCacheOptions
}

export interface NearCacheOptions {
  /** At most 10 s. */
  ttl?: Duration
  /** Entries. */
  max?: number
}

export interface LookupOptions {
  concurrency?: number
  queue?: number
  maxWait?: Duration
  timeout?: Duration
}

export interface RateLimitOptions {
  max?: number
  timeWindow?: Duration
  /** In place of `max`, in each process, while Redis does not count. */
  localMax?: number
}

export interface AccountLimitOptions {
  /** Failed logins of one username before the first wait. */
  max?: number
  /** In place of `max`, in each process, while Redis does not count. */
  localMax?: number
  /** The first wait; each further failure doubles it. */
  delay?: Duration
  maxDelay?: Duration
  /** Failures are forgotten so long after the last one. */
  forgetAfter?: Duration
}

export interface HashingOptions {
  /** Passwords hashed at once. */
  concurrency?: number
  /** How many may wait. */
  queue?: number
  maxWait?: Duration
}

export interface PasswordOptions {
  minLength?: number
  maxLength?: number
  /** Whether common passwords are refused. */
  common?: boolean
  /** Words that a password may not have in it: the service's name, the company's. */
  contextWords?: readonly string[]
  /** `haveIBeenPwned()`, or another list. */
  breached?: BreachedPasswords
  /** A rule of your own: returns what is wrong, or nothing. */
  check?: PasswordRule
}

/** Everything optional but `database`; docs/options.md lists the defaults. */
export interface AuthPluginOptions {
  database: DatabaseOption
  redis?: RedisOption
  prefix?: string
  realm?: string
  schemes?: readonly ('Bearer' | 'Token')[]
  token?: TokenOptions
  cache?: CacheOptions
  revocation?: 'strict' | 'bounded'
  users?: UsersOptions
  lookup?: LookupOptions
  rateLimit?: false | RateLimitOptions
  accountLimit?: false | AccountLimitOptions
  captcha?: CaptchaOption
  hasher?: Hasher
  verifiers?: readonly PasswordVerifier[]
  hashing?: HashingOptions
  password?: PasswordOptions
  start?: 'strict' | 'degraded'
  autoMigrate?: boolean
  hooks?: AuthHooks
  now?: Now
  randomBytes?: RandomBytes
}
