import type { Kysely } from 'kysely'
import type { DatabaseOption, RedisOption } from '../../types/options.js'
import { isClient, isKysely, isPool } from './handles.js'
import { handle, hasMethods, isPlainObject, refuse } from './rules.js'
import type { Rule } from './rules.js'

/** A handle of another kind, and what to pass in its place. */
type Mistake = [is: (value: any) => boolean, got: string]

const isModule = (value: unknown) => Object.prototype.toString.call(value) === '[object Module]'

const ANYWHERE: Mistake[] = [
  [isModule, 'an ES module: pass what it exports'],
  [hasMethods('then'), 'a promise: await it']
]

/** Handles of other libraries as `database`. Some of them pass for one of ours: a MySQL connection has the methods of a pool. */
const DATABASES: Mistake[] = [
  ...ANYWHERE,
  [isUrl, 'a URL: pass { connectionString: url.href }'],
  [(value) => isKysely(value) && !isPostgres(value), 'a Kysely on another database'],
  [hasMethods('query', 'exec', 'transaction'), 'a PGlite: pass createPGlitePool(pglite)'],
  [hasMethods('$connect', '$transaction'), 'a Prisma client: pass { connectionString }'],
  [hasMethods('select', 'insert', 'execute'), 'a Drizzle database: pass its pg.Pool'],
  [hasMethods('raw', 'select'), 'a Knex: pass { connectionString }'],
  [hasMethods('acquire', 'numUsed'), 'the pool of a Knex: pass a pg.Pool'],
  [(value) => hasMethods('query', 'connect')(value) && isPool(value.pool), 'the decorator of @fastify/postgres: pass its property pool'],
  [(value) => isPool(value) && 'connectionParameters' in value, 'a pg.Client: pass a pg.Pool'],
  [hasMethods('unsafe', 'begin'), 'a postgres.js client: pass { connectionString }'],
  [hasMethods('getConnection'), 'a pool of MySQL: the plugin needs PostgreSQL'],
  [hasMethods('changeUser'), 'a connection to MySQL: the plugin needs PostgreSQL'],
  [isClient, 'an ioredis client: pass it as the option redis']
]

/** The same as `redis`. */
const REDISES: Mistake[] = [
  ...ANYWHERE,
  [isUrl, 'a URL: pass { url: url.href }'],
  [hasMethods('sendCommand', 'multi', 'destroy'), 'a client of the package redis: pass its { url }, or a client of ioredis'],
  [(value) => isPlainObject(value) && Object.values(value).some(isClient), 'fastify.redis with namespaces: pass the client fastify.redis.<namespace>']
]

function isUrl (value: unknown): boolean {
  return value instanceof URL
}

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
