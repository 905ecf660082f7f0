import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import { staleWindowMs } from '../tools/stale-window.js'
import type { Digest } from '../../types/cache.js'
import type { Tables } from './tables.js'

export function toBytes (digest: Digest): Buffer {
  return Buffer.from(digest, 'base64url')
}

/** A digest as a field of a row. */
export const digestHex = sql<string>`pg_catalog.encode(digest, 'hex')`

export function toDigest ({ digest }: { digest: string }): Digest {
  return Buffer.from(digest, 'hex').toString('base64url')
}

/** The time `ms` milliseconds before now, by the database's clock. */
export function ago (ms: number): RawBuilder<Date> {
  return sql`now() - ${sql.lit(ms)} * interval '1 millisecond'`
}

export function epochMs (instant: RawBuilder<unknown>): RawBuilder<number> {
  return sql`pg_catalog.floor(extract(epoch from ${instant}) * 1000)::int8`
}

/** The database's clock, rounded up. */
export const nowMs = sql<number>`pg_catalog.ceil(extract(epoch from now()) * 1000)::int8`

/** A server registers its cache more often than that. */
const FORGET_CACHES = sql`interval '1 day'`

/** The instant of the oldest revocation that some server's cache may still contradict: by the longest `cache.ttl` that is registered, or this server's own. */
export function staleSince ({ caches }: Tables, ownTtlMs: number): RawBuilder<Date> {
  const longest = sql`select pg_catalog.max(ttl_ms) from ${caches} where seen_at > now() - ${FORGET_CACHES} - ttl_ms * interval '1 millisecond'`
  return sql`now() - (${sql.lit(staleWindowMs(0))} + greatest(${sql.lit(ownTtlMs)}, (${longest}))) * interval '1 millisecond'`
}
