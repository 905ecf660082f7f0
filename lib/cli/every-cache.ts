import { COMMAND_FAILED } from '../errors.js'
import { OPTIONS } from '../options/table.js'
import type { ServerKey } from '../crypto/seal.js'
import type { CacheKeys, RunningCache } from '../sql/caches.js'
import { ADMIN_FLAGS, withAdmin } from './admin-app.js'
import type { AdminApp } from './admin-app.js'
import { readDatabaseUrl, readRedisUrl } from './environment.js'
import type { Io } from './io.js'
import { SILENT, withDatabase } from './open-database.js'
import type { Place } from './open-database.js'
import { toTableMap } from './table-flags.js'
import type { Mapping } from './table-flags.js'

/** The flags of commands that end sessions. */
export const REVOKING_FLAGS = {
  ...ADMIN_FLAGS,
  'cache-namespace': { type: 'string', value: '<prefix>', about: 'the option cache.namespace of servers that do not run; of running ones it is known' }
} as const

type Values = Place & Mapping & { 'cache-namespace'?: string }

/** `db: null`: the database of REDIS_URL. */
type Target = Omit<CacheKeys, 'db'> & { db: number | null }

const MISSING_TABLE = '42P01'
const DEFAULT_NAMESPACE = OPTIONS['cache.namespace'].fallback as string

/**
 * Like `withAdmin`, for work that ends sessions: it is done over the cache of every running server, which the database knows. `again` repeats
 * it for all caches but the first. An embedded database has no other servers.
 * @throws `FST_TOKEN_AUTH_COMMAND_FAILED` if a running server was not notified
 */
export async function withEveryCache<Result> (io: Io, values: Values, work: (app: AdminApp) => Promise<Result>, again: (app: AdminApp) => Promise<unknown>): Promise<Result> {
  const url = readRedisUrl(io.env)
  const running = readDatabaseUrl(io.env) === null ? [] : await listCaches(io, values)
  const targets = url === null ? [] : withGiven(keysOf(running), values['cache-namespace'])
  const [first = {}, ...others] = targets.map(({ keyPrefix, namespace, db }) => ({ redis: { url: inDatabase(url!, db), keyPrefix }, cache: { namespace } }))
  const result = await withAdmin(io, values, work, first)
  for (const options of others) await withAdmin(io, values, again, options)
  refuseMissed(running, url)
  const recent = keysOf(running.filter(({ isRecent }) => isRecent))
  if (url !== null && recent.length > 0) await refuseOtherRedis(io, values, url, recent)
  return result
}

function keysOf (running: RunningCache[]): CacheKeys[] {
  return running.flatMap(({ keys }) => keys === null ? [] : [keys])
}

// Without a running server nobody has to learn of it, but one may be about to start.
function withGiven (running: CacheKeys[], namespace: string | undefined): Target[] {
  const given = namespace === undefined || running.some((keys) => keys.namespace === namespace) ? [] : [{ keyPrefix: '', namespace, db: null }]
  const all = [...running, ...given]
  return all.length > 0 ? all : [{ keyPrefix: '', namespace: DEFAULT_NAMESPACE, db: null }]
}

function inDatabase (url: string, db: number | null): string {
  if (db === null) return url
  const place = new URL(url)
  place.pathname = `/${db}`
  return place.href
}

const DONE = 'The sessions are ended in the database'
const UNTIL = 'may accept them until their cache.ttl is over, 5 minutes by default'

function refuseMissed (running: RunningCache[], url: string | null): void {
  if (url === null && keysOf(running).length > 0) throw new COMMAND_FAILED(`${DONE}, but REDIS_URL is not set: running servers ${UNTIL}. Set it and repeat the command`)
  if (running.some(({ keys }) => keys === null)) throw new COMMAND_FAILED(`${DONE}, but servers that cache tokens in their own process cannot be notified: they ${UNTIL}`)
}

async function refuseOtherRedis (io: Io, values: Values, url: string, recent: CacheKeys[]): Promise<void> {
  const unmarked = await withDatabase(io.env, values, async ({ db }) => {
    const { createTables } = await import('../sql/tables.js')
    const { createSql } = await import('../sql/gateway.js')
    const { createServerKey } = await import('../sql/server-key.js')
    const serverKey = createServerKey(createSql(db), createTables(toTableMap(values)))
    const marks = await Promise.all(recent.map(async (keys) => await isMarked(url, keys, serverKey)))
    return recent.find((_keys, index) => !marks[index])
  })
  if (unmarked === undefined) return
  throw new COMMAND_FAILED(`${DONE}, but no running server uses the Redis of REDIS_URL with cache.namespace ${JSON.stringify(unmarked.namespace)}: servers on another Redis ${UNTIL}. Give the command the REDIS_URL of the servers and repeat it. If it is the right one and was emptied just now, repeat it in a few seconds`)
}

async function isMarked (url: string, { keyPrefix, namespace, db }: CacheKeys, serverKey: ServerKey): Promise<boolean> {
  const { openRedis } = await import('../redis/client.js')
  const { hasMark } = await import('../cache/mark.js')
  const redis = openRedis({ url: inDatabase(url, db), keyPrefix }, SILENT)
  try {
    await redis.connect()
    return await hasMark(redis, namespace, serverKey)
  } finally {
    redis.disconnect()
  }
}

async function listCaches (io: Io, values: Values): Promise<RunningCache[]> {
  const { createTables } = await import('../sql/tables.js')
  const { listRunningCaches } = await import('../sql/caches.js')
  const { codeOf } = await import('../sql/errors.js')
  // Tables that are missing are reported by the work itself.
  const none = (error: unknown) => {
    if (codeOf(error) === MISSING_TABLE) return []
    throw error
  }
  return await withDatabase(io.env, values, async ({ db }) => await listRunningCaches(db, createTables(toTableMap(values))).catch(none))
}
