import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Logger } from '../ports.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import { createRepeated } from '../tools/repeated.js'
import { nowMs } from './codec.js'
import type { Sql } from './gateway.js'
import type { Tables } from './tables.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

export interface CacheRegistry {
  /** Registers how long this server's cache keeps tokens, now and every ten minutes. Rejects if the first try fails; retries soon after. */
  start (): Promise<void>
  close (): Promise<void>
}

export interface CacheRegistrySettings {
  sql: Sql
  tables: Tables
  /** What the keys of this server's cache begin with; see `formatKeys`. */
  keys: string
  ttlMs: number
  clock: DatabaseClock
  logger: Logger
  /** Interval of the writes; ten minutes by default. */
  intervalMs?: number
  /** Delay after a failed write; ten seconds by default. */
  retryMs?: number
}

const INTERVAL_MS = 600_000

/** Where a server's cache is, in its Redis. */
export interface CacheKeys {
  keyPrefix: string
  namespace: string
  /** The number of the database. */
  db: number
}

/**
 * As it is stored: the prefix and the namespace, with the number of a database other than 0 after a tab; of a cache in the process a space and
 * the process's id. A namespace has no space and no tab.
 */
export function formatKeys (keys: CacheKeys | null, processId: string): string {
  if (keys === null) return ` ${processId}`
  const { keyPrefix, namespace, db } = keys
  return `${keyPrefix === '' ? '' : `${keyPrefix} `}${namespace}${db === 0 ? '' : `\t${db}`}`
}

const isInProcess = (text: string) => text.lastIndexOf(' ') === 0

function parseKeys (text: string): CacheKeys | null {
  if (isInProcess(text)) return null
  const at = text.lastIndexOf(' ')
  const [namespace, db = '0'] = text.slice(at + 1).split('\t') as [string, string?]
  return { keyPrefix: text.slice(0, Math.max(0, at)), namespace, db: Number(db) }
}

export interface RunningCache {
  /** `null`: in a process. */
  keys: CacheKeys | null
  /** Registered within twice the interval. */
  isRecent: boolean
}

/**
 * The caches of the servers that may run: every one in Redis, since a server that cannot reach the database still reads its cache, and one in a
 * process if it was registered recently and has not been closed.
 */
export async function listRunningCaches (db: Kysely<any>, { caches }: Tables): Promise<RunningCache[]> {
  const { rows } = await sql<JsonRow>`select ${jsonRow({ keys: sql`namespace`, isRecent: sql`pg_catalog.max(seen_at) > now() - ${2 * INTERVAL_MS} * interval '1 millisecond'` })}
    from ${caches} group by namespace order by namespace`.execute(db)
  return parseRows<{ keys: string, isRecent: boolean }>(rows).filter(({ keys, isRecent }) => isRecent || !isInProcess(keys)).map(({ keys, isRecent }) => ({ keys: parseKeys(keys), isRecent }))
}

/**
 * The table of every server's `cache.ttl`. It says how far back a catch-up must go: entries of other servers may live longer than this
 * server's own.
 */
export function createCacheRegistry (settings: CacheRegistrySettings): CacheRegistry {
  const { sql: { run }, tables: { caches }, keys, ttlMs, clock, logger, intervalMs = INTERVAL_MS, retryMs = 10_000 } = settings
  const registration = createRepeated({
    work: register,
    intervalMs,
    retryMs,
    onFailure: (error) => logger.warn({ err: error }, 'cache.ttl could not be registered in the database; retrying')
  })

  async function register (): Promise<void> {
    const sentAt = clock.moment()
    const { rows } = await upsert()
    clock.sync(parseRows<{ now: number }>(rows)[0]!.now, sentAt)
  }

  function upsert () {
    return run((db) => sql<JsonRow>`with forgotten as (
        delete from ${caches} where seen_at < now() - interval '2 days' - ttl_ms * interval '1 millisecond'
      ) insert into ${caches} as known (namespace, ttl_ms, seen_at) values (${keys}, ${ttlMs}, now())
      on conflict (namespace, ttl_ms) do update set seen_at = greatest(known.seen_at, excluded.seen_at)
      returning ${jsonRow({ now: nowMs })}`.execute(db))
  }

  return {
    start: registration.run,
    async close () {
      registration.close()
      // The cache ends with the process. If this fails, commands take the process for running until the row is too old.
      if (isInProcess(keys)) await run((db) => sql`delete from ${caches} where namespace = ${keys}`.execute(db)).catch(() => {})
    }
  }
}
