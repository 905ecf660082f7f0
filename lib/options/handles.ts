import type { Cluster, Redis } from 'ioredis'
import type { Kysely, PostgresPool } from 'kysely'
import type { Pool } from 'pg'
import type { DatabaseOption, RedisOption } from '../../types/options.js'
import { handle, hasMethods, isPlainObject, refuse } from './rules.js'
import type { Rule } from './rules.js'

const hasKyselyMethods = hasMethods('selectFrom', 'getExecutor', 'withoutPlugins')
const hasPoolMethods = hasMethods('connect', 'end')
const hasClientMethods = hasMethods('duplicate')

export function isKysely (value: unknown): value is Kysely<any> {
  return hasKyselyMethods(value)
}

/** A `pg.Pool`, or an object that Kysely accepts in its place, such as `createPGlitePool()`. */
export function isPool (value: unknown): value is Pool | PostgresPool {
  return hasPoolMethods(value)
}

/** An ioredis client, of any copy of the package. */
export function isClient (value: unknown): value is Redis | Cluster {
  return hasClientMethods(value) && typeof (value as Partial<Redis>).status === 'string'
}

/** The settings of a connection, whatever their prototype is: libraries for configuration files have one of their own. */
export function isConfiguration (value: unknown): value is object {
  return isPlainObject(value) && !isKysely(value) && !isPool(value) && !isClient(value)
}

/** A handle of another kind, and what to pass in its place. */
type Mistake = [is: (value: any) => boolean, got: string]

const isModule = (value: unknown) => Object.prototype.toString.call(value) === '[object Module]'
const MODULE: Mistake = [isModule, 'an ES module: pass what it exports']

// Some of these would pass for a configuration without a host, with which the drivers connect to this machine.
const DATABASES: Mistake[] = [
  MODULE,
  [(value) => isKysely(value) && !isPostgres(value), 'a Kysely on another database'],
  [hasMethods('$connect', '$transaction'), 'a Prisma client: pass { connectionString }'],
  [hasMethods('select', 'insert', 'execute'), 'a Drizzle database: pass its pg.Pool'],
  [(value) => hasMethods('query', 'connect')(value) && isPool(value?.pool), 'the decorator of @fastify/postgres: pass its property pool'],
  [(value) => hasPoolMethods(value) && typeof value.connectionParameters === 'object', 'a pg.Client: pass a pg.Pool'],
  [hasMethods('unsafe', 'begin'), 'a postgres.js client: pass { connectionString }']
]

const REDISES: Mistake[] = [
  MODULE,
  [hasMethods('sendCommand', 'multi', 'destroy'), 'a client of the package redis: pass its { url }, or a client of ioredis']
]

// Of the dialects that Kysely brings, only this one has both.
function isPostgres (db: Kysely<any>): boolean {
  const { supportsReturning, supportsTransactionalDdl } = db.getExecutor().adapter
  return supportsReturning && supportsTransactionalDdl
}

function withoutMistakes<Handle> (expected: string, mistakes: Mistake[], rule: Rule<Handle>): Rule<Handle> {
  return (value, path) => {
    const mistake = mistakes.find(([is]) => value !== null && value !== undefined && is(value))
    return mistake === undefined ? rule(value, path) : refuse(path, expected, value, mistake[1])
  }
}

const DATABASE = 'a Kysely on PostgreSQL, a pg.Pool or a pool\'s configuration such as { connectionString }'
const REDIS = 'an ioredis client, its options such as { url }, or true for fastify.redis'

export const databaseHandle = withoutMistakes(DATABASE, DATABASES, handle<DatabaseOption>(DATABASE, isKysely, isPool, isPlainObject))
export const redisHandle = withoutMistakes(REDIS, REDISES, handle<RedisOption>(REDIS, (value) => value === true, isClient, isPlainObject))
