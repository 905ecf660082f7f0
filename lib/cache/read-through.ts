import type { CacheAvailability } from './availability.js'
import type { FoundToken, TokenRecord } from '../ports.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { UserId } from '../../types/user.js'
import { withDeadline } from '../tools/deadline.js'
import type { DeadlineSettings } from '../tools/deadline.js'
import { createNextBatch } from '../tools/next-batch.js'
import { decodeRecord, encodeRecord, TOMBSTONE } from './entry.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import type { Doubts } from './doubts.js'
import type { Seal } from '../crypto/seal.js'
import { LEASE_MS } from '../tools/stale-window.js'

export interface TokenLookup {
  /** The live token's record or `null`; by callback, so that a hit creates no promise here. */
  lookup (digest: Digest, done: (error: Error | null, record: TokenRecord | null) => void): void
  /** The same, from SQL. */
  lookupFresh (digest: Digest): Promise<TokenRecord | null>
}

export interface ReadThroughSettings {
  cache: TokenCache
  availability: CacheAvailability
  /** Tokens for which the cache is not trusted. */
  doubts: Pick<Doubts, 'holdsToken' | 'holdsUser'>
  /** Distinguishes entries of servers from entries of anybody else who can write to the cache. */
  seal: Seal
  /** Looks tokens up in SQL, bounded in number and time. */
  find: (digest: Digest) => Promise<FoundToken | null>
  /** Total time of a cache miss, including the wait for another request's lookup. Unlimited if omitted. */
  deadline?: DeadlineSettings
  ttlMs: number
  clock: DatabaseClock
  /** Unique to this process, so that its leases differ from all others. */
  leaseOwner: string
  /** In [0, 1): spreads the expiry of entries that were filled together. */
  jitter: () => number
}

/** Reading through the cache with leases, after "Scaling Memcache at Facebook" (Nishtala et al., 2013), section 3.2.1. */
export function createReadThrough (settings: ReadThroughSettings): TokenLookup {
  const { cache, availability, doubts, seal, deadline, clock } = settings
  const joinMiss = createNextBatch(readThrough)
  const awaitMiss = (digest: Digest) => deadline === undefined ? joinMiss(digest) : withDeadline(joinMiss(digest), deadline)
  let leases = 0

  async function find (digest: Digest): Promise<FoundToken | null> {
    const sentAt = clock.moment()
    const found = await settings.find(digest)
    if (found !== null) clock.sync(found.asOfMs, sentAt)
    return found
  }

  // The clock may be slightly ahead of the database's: if an entry seems expired, SQL decides.
  function liveRecord (digest: Digest, value: string): TokenRecord | null {
    const cached = decodeRecord(seal, digest, value)
    if (cached === null || cached.endsAtMs <= clock.now() || doubts.holdsUser(cached.record.user.id as UserId)) return null
    return cached.record
  }

  async function lease (digest: Digest, lease: string): Promise<string | null> {
    if (!availability.isHealthy() || doubts.holdsToken(digest)) return null
    try {
      return await cache.getOrLease(digest, lease, LEASE_MS)
    } catch (error) {
      availability.failed('lease', error as Error)
      return null
    }
  }

  // The remaining life was measured after the lease was written, and counts from the lease: the entry ends before the token.
  function fill (digest: Digest, lease: string, { record, asOfMs }: FoundToken): void {
    const ttlMs = Math.floor(Math.min(settings.ttlMs * (1 - 0.1 * settings.jitter()), endOf(record) - asOfMs))
    const value = encodeRecord(seal, digest, { record, endsAtMs: asOfMs + ttlMs })
    if (value === null || ttlMs < 1) return
    cache.fill(digest, lease, value, ttlMs, LEASE_MS)
      .catch((error) => availability.failed('fill', error))
  }

  async function readThrough (digest: Digest): Promise<TokenRecord | null> {
    const mine = `L${settings.leaseOwner}:${leases++}`
    const value = await lease(digest, mine)
    if (value === TOMBSTONE) return null
    const cached = value === null ? null : liveRecord(digest, value)
    if (cached !== null) return cached
    const found = await find(digest)
    if (found !== null && value === mine) fill(digest, mine, found)
    return found?.record ?? null
  }

  return {
    lookup (digest, done) {
      // Cloned: callers that shared a run must not share the object that becomes request.user.
      const miss = () => { awaitMiss(digest).then((record) => done(null, structuredClone(record)), (error) => done(error, null)) }
      if (doubts.holdsToken(digest) || !availability.canRead()) return miss()
      cache.get(digest, (error, value) => {
        if (error !== null) {
          availability.failed('get', error)
          return miss()
        }
        availability.succeeded()
        if (value === TOMBSTONE) return done(null, null)
        const record = value === null ? null : liveRecord(digest, value)
        return record === null ? miss() : done(null, record)
      })
    },
    async lookupFresh (digest) {
      const found = await find(digest)
      return found?.record ?? null
    }
  }
}

function endOf ({ expiresAtMs, idleAtMs }: TokenRecord): number {
  return Math.min(expiresAtMs, idleAtMs ?? Infinity)
}
