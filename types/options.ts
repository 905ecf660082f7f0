import type { Kysely, PostgresPool } from 'kysely'
import type { ClientConfig, Pool, PoolConfig } from 'pg'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import type { AuthHooks } from './events.js'
import type { CaptchaOption } from './captcha.js'
import type { BreachedPasswords, Hasher, PasswordRule, PasswordVerifier } from './passwords.js'

/** Milliseconds since 1970. Injected so that tests can move the clock instead of sleeping. */
export type Now = () => number

/** Cryptographically strong random bytes; `node:crypto`'s `randomBytes` by default. */
export type RandomBytes = (size: number) => Buffer

/** `'30d'`, `'15 minutes'`, or a number of milliseconds. */
export type Duration = string | number

/**
 * A Kysely on PostgreSQL, a `pg.Pool` or a compatible pool such as `createPGlitePool()`, or a pool configuration.
 * The plugin closes what it creates itself, and leaves open what you pass to it.
 */
export type DatabaseOption = Kysely<any> | Pool | PostgresPool | PoolConfig

/** The parts of an ioredis client that are used, so that a client of another copy or version is accepted. */
interface AnyRedis {
  readonly status: string
  readonly options: object
  duplicate (...args: any[]): any
}

/** An ioredis client (it is duplicated with safe settings), its options with an optional `url`, or `true` for `fastify.redis`. */
export type RedisOption = Redis | Cluster | AnyRedis | (RedisOptions & { url?: string | undefined }) | true

export interface UsersOptions {
  table?: string
  schema?: string | null
  /** Your column names; `null` for a column that does not exist. */
  columns?: {
    id?: string
    username?: string
    passwordHash?: string
    active?: string | null
    lastLogin?: string | null
  }
  /** Further columns that become fields of `request.user`. */
  select?: readonly string[]
  /** A SQL condition over the users table's columns, that replaces the `active` column: `"deleted_at is null"`. */
  activeWhen?: string | null
  /**
   * Turns a typed username into the one to look up and to store: `(name) => name.normalize('NFKC').trim()` for names of Django.
   * Without it names are used as typed.
   */
  canonicalize?: ((username: string) => string) | null
  /** Type of the id, for migrations that are printed without a database; otherwise it is read from the database. */
  idType?: 'uuid' | 'integer' | 'bigint' | 'text' | null
}

/** Names for what the plugin adds to Fastify. Rename what another plugin such as @fastify/jwt adds under the same name. */
export interface DecoratorNames {
  /** Default: `'authenticate'`, for `fastify.authenticate`. */
  authenticate?: string
  /** Default: `'tokenAuth'`, for `fastify.tokenAuth`. */
  tokenAuth?: string
  /** Default: `'user'`, for `request.user`. */
  user?: string
  /** Default: `'auth'`, for `request.auth`. */
  auth?: string
}

export interface TokenOptions {
  ttl?: Duration
  idleTtl?: Duration | null
  touchInterval?: Duration
  prefix?: string
  maxPerUser?: number
  table?: string
  schema?: string | null
  retention?: Duration
}

export interface CacheOptions {
  ttl?: Duration
  /** How long a token lookup waits for Redis before it goes to PostgreSQL. */
  timeout?: Duration
  namespace?: string
  /** Entries of the in-process cache. */
  max?: number
  /**
   * Also keeps live tokens in the process, so that a request costs no round trip to Redis. A revocation waits until every server
   * has dropped the token, or may not use its memory any more. `request.user` is then deeply frozen. Off by default.
   */
  near?: null | boolean | NearCacheOptions
}

export interface NearCacheOptions {
  /** How long a server may answer from its memory without word from PostgreSQL, and how long a revocation waits for a server that has died. */
  lease?: Duration
  /** Entries. */
  max?: number
  /** Whether what Redis answers counts only under the lease, too. */
  leaseRedis?: boolean
  /** Without Redis: settings of a connection for `LISTEN`, if that of `database` goes through a pooler, or is a `Kysely`. */
  connection?: ClientConfig | null
}

export interface LookupOptions {
  concurrency?: number | null
  queue?: number
  maxWait?: Duration
  timeout?: Duration
}

export interface RateLimitOptions {
  max?: number
  timeWindow?: Duration
  /** In place of `max`, in each process, while Redis does not count. */
  localMax?: number | null
  /** Addresses and networks (`'10.0.0.0/8'`) that are not limited. */
  allowList?: readonly string[]
}

export interface AccountLimitOptions {
  /** Failed logins of one username before the first wait. */
  max?: number
  /** In place of `max`, in each process, while Redis does not count. */
  localMax?: number | null
  /** The first wait; each further failure doubles it. */
  delay?: Duration
  maxDelay?: Duration
  /** Failures are forgotten this long after the last one. */
  forgetAfter?: Duration
}

export interface HashingOptions {
  /** Passwords hashed at once. */
  concurrency?: number | null
  /** Passwords that may wait. */
  queue?: number
  maxWait?: Duration
}

export interface PasswordOptions {
  minLength?: number
  maxLength?: number
  /** Refuse common passwords. */
  common?: boolean
  /** Words that no password may contain: the names of the service and the company. */
  contextWords?: readonly string[]
  /** A breach check: `haveIBeenPwned()`, or one of your own. */
  breached?: BreachedPasswords | null
  /** A rule of your own: returns a message if the password is refused, otherwise nothing. */
  check?: PasswordRule | null
}

/** A `transform` of @fastify/swagger. */
export type OpenApiTransform = (input: {
  schema: object
  url: string
  route: object
  openapiObject?: { openapi?: string, tags?: { name: string }[], components: { securitySchemes?: object, schemas?: object } }
  swaggerObject?: { tags?: { name: string }[], securityDefinitions?: object, definitions?: object }
}) => { schema: object, url: string }

/** How the routes are described in the document of @fastify/swagger. */
export interface OpenApiOptions {
  /** Begins the ids of operations (`'staff'`: `staffLogin`) and the names of schemas, which must be unique if the plugin is registered twice. */
  operationIdPrefix?: string
  tags?: readonly string[]
  /** Whether routes of the application that `authenticate` protects get `security` in their schema. */
  hostRoutes?: boolean
  transform?: OpenApiTransform | null
}

/** Only `database` is required. See docs/options.md for the defaults. */
export interface AuthPluginOptions {
  database: DatabaseOption
  redis?: RedisOption | null
  prefix?: string
  realm?: string
  schemes?: readonly ('Bearer' | 'Token')[]
  decorators?: DecoratorNames
  openapi?: OpenApiOptions
  token?: TokenOptions
  cache?: CacheOptions
  revocation?: 'strict' | 'bounded'
  users?: UsersOptions
  lookup?: LookupOptions
  rateLimit?: false | RateLimitOptions
  accountLimit?: false | AccountLimitOptions
  captcha?: CaptchaOption | null
  hasher?: Hasher | null
  verifiers?: readonly PasswordVerifier[]
  hashing?: HashingOptions
  password?: PasswordOptions
  start?: 'strict' | 'degraded'
  autoMigrate?: boolean
  hooks?: AuthHooks
  now?: Now
  randomBytes?: RandomBytes
}
