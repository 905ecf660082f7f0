import type { Kysely, PostgresPool } from 'kysely'
import type { Pool, PoolConfig } from 'pg'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import type { AuthHooks } from './events.js'
import type { Captcha, Hasher, Now, RandomBytes } from './ports.js'

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
  /** The id's type, where migrations are printed without a database; found in the database otherwise. */
  idType?: 'uuid' | 'integer' | 'bigint'
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
  rateLimit?: false | { max?: number, timeWindow?: Duration }
  captcha?: Captcha
  hasher?: Hasher
  password?: { minLength?: number, maxLength?: number }
  start?: 'strict' | 'degraded'
  autoMigrate?: boolean
  hooks?: AuthHooks
  now?: Now
  randomBytes?: RandomBytes
}
