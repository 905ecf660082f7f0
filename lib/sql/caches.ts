import { sql } from 'kysely'
import type { Logger } from '../ports.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import type { Sql } from './gateway.js'
import type { Tables } from './tables.js'

export interface CacheRegistry {
  /** Registers how long this server's cache keeps tokens, now and every ten minutes. Rejects if the first try fails; retries soon after. */
  start (): Promise<void>
  close (): Promise<void>
}

export interface CacheRegistrySettings {
  sql: Sql
  tables: Tables
  namespace: string
  ttlMs: number
  clock: DatabaseClock
  logger: Logger
  /** Interval of the writes; ten minutes by default. */
  intervalMs?: number
  /** Delay after a failed write; ten seconds by default. */
  retryMs?: number
}

/**
 * The table of every server's `cache.ttl`. It says how far back a catch-up must go: entries of other servers may live longer than this
 * server's own.
 */
export function createCacheRegistry (settings: CacheRegistrySettings): CacheRegistry {
  const { sql: { run }, tables: { caches }, namespace, ttlMs, clock, logger, intervalMs = 600_000, retryMs = 10_000 } = settings
  let timer: NodeJS.Timeout | undefined
  let isClosed = false

  function writeAgainAfter (ms: number): void {
    clearTimeout(timer)
    if (!isClosed) timer = setTimeout(() => { write().catch(warn) }, ms).unref()
  }

  function warn (error: Error): void {
    logger.warn({ err: error }, 'cache.ttl could not be registered in the database; retrying')
  }

  async function write (): Promise<void> {
    writeAgainAfter(retryMs)
    const asked = clock.ask()
    const { rows: [row] } = await upsert()
    clock.learn(row!.now, asked)
    writeAgainAfter(intervalMs)
  }

  function upsert () {
    return run((db) => sql<{ now: number }>`with forgotten as (
        delete from ${caches} where seen_at < now() - interval '2 days' - ttl_ms * interval '1 millisecond'
      ) insert into ${caches} as known (namespace, ttl_ms, seen_at) values (${namespace}, ${ttlMs}, now())
      on conflict (namespace, ttl_ms) do update set seen_at = greatest(known.seen_at, excluded.seen_at)
      returning ceil(extract(epoch from now()) * 1000)::float8 as now`.execute(db))
  }

  return {
    start: write,
    async close () {
      isClosed = true
      clearTimeout(timer)
    }
  }
}
