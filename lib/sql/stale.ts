import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { Tables } from './tables.js'

/** How long a reader may take to ask SQL and fill. A fill after that is refused, never wrong. */
export const LEASE_MS = 2000

/**
 * The longest from a revocation's instant to its commit. The rows are locked by then, but statements may follow, and a server or a database may be
 * frozen for a while. A transaction that took longer is dated again once its end is known.
 */
const TRANSACTION_MS = 30_000

/** What is older than this when its commit is seen is dated again. Well below `TRANSACTION_MS`, which it protects. */
export const DATE_AGAIN_MS = 10_000

/** A server writes down the life of its cache more often than that. */
const FORGET_CACHES = sql`interval '1 day'`

/**
 * How long after a revocation's instant an entry made from a read before its commit can live: the transaction, the lease, the entry.
 * Tombstones last that long, and only revocations that young are rewritten.
 */
export function staleWindowMs (cacheTtlMs: number): number {
  return cacheTtlMs + LEASE_MS + TRANSACTION_MS
}

/** The instant of the oldest revocation that some server's cache may still contradict: by the longest life that a cache has, or this server's own. */
export function staleSince ({ caches }: Tables, ownTtlMs: number): RawBuilder<Date> {
  const longest = sql`select max(ttl_ms) from ${caches} where seen_at > now() - ${FORGET_CACHES} - ttl_ms * interval '1 millisecond'`
  return sql`now() - (${sql.lit(staleWindowMs(0))} + greatest(${sql.lit(ownTtlMs)}, (${longest}))) * interval '1 millisecond'`
}
