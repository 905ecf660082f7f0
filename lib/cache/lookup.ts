import type { FoundToken, TokenRecord } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import { withDeadline } from '../tools/deadline.js'
import type { DeadlineSettings } from '../tools/deadline.js'
import { createNextBatch } from '../tools/next-batch.js'
import type { CachedRecord } from './entry.js'

export type Done<Found> = (error: Error | null, found: Found | null) => void

export interface TokenLookup {
  /** The live token or `null`; by callback, so that a hit creates no promise here. */
  lookup (digest: Digest, done: Done<CachedRecord>): void
  /** The same, from SQL. */
  lookupFresh (digest: Digest): Promise<CachedRecord | null>
}

/** A record from SQL, and the time at which it was valid, by the database's clock. */
export type DatedRecord = CachedRecord & Pick<FoundToken, 'asOfMs'>

export interface DatabaseReadSettings {
  /** Looks tokens up in SQL, bounded in number and time. */
  find: (digest: Digest) => Promise<FoundToken | null>
  clock: DatabaseClock
  /** How long a cache may keep what SQL has answered. */
  ttlMs: number
  /** In [0, 1): spreads the ends of entries that were filled together. */
  jitter: () => number
}

/** Reads from SQL, and sets the database's clock by each answer. */
export function createDatabaseRead ({ find, clock, ttlMs, jitter }: DatabaseReadSettings): (digest: Digest) => Promise<DatedRecord | null> {
  return async (digest) => {
    const sentAt = clock.moment()
    const found = await find(digest)
    if (found === null) return null
    const { record, asOfMs } = found
    clock.sync(asOfMs, sentAt)
    return { record, asOfMs, endsAtMs: Math.min(asOfMs + ttlMs * (1 - 0.1 * jitter()), endOf(record)) }
  }
}

function endOf ({ expiresAtMs, idleAtMs }: TokenRecord): number {
  return Math.min(expiresAtMs, idleAtMs ?? Infinity)
}

/**
 * Shares a read between the requests that wait for it. `deadline` is for the whole time, also that of waiting for another request's read; unlimited
 * if omitted.
 */
export function createSharedRead (read: (digest: Digest) => Promise<CachedRecord | null>, deadline?: DeadlineSettings): TokenLookup['lookup'] {
  const join = createNextBatch(read)
  const wait = (digest: Digest) => deadline === undefined ? join(digest) : withDeadline(join(digest), deadline)
  return (digest, done) => {
    // Cloned: callers that shared a run must not share the object that becomes request.user.
    wait(digest).then((found) => done(null, structuredClone(found)), (error) => done(error, null))
  }
}

/** Lookups without a cache. */
export function createDatabaseLookup (read: (digest: Digest) => Promise<CachedRecord | null>, deadline: DeadlineSettings): TokenLookup {
  return { lookup: createSharedRead(read, deadline), lookupFresh: read }
}
