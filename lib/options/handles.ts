import type { Cluster, Redis } from 'ioredis'
import type { Kysely, PostgresPool } from 'kysely'
import type { Pool } from 'pg'
import { hasMethods, isPlainObject } from './rules.js'

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

/** The settings of a connection. */
export function isConfiguration (value: unknown): value is object {
  return isPlainObject(value) && !isKysely(value) && !isPool(value) && !isClient(value)
}
