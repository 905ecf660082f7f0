import type { CacheAvailability } from './availability.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { UserId } from '../../types/user.js'
import type { DeadlineSettings } from '../tools/deadline.js'
import { decodeRecord, encodeRecord, TOMBSTONE } from './entry.js'
import type { CachedRecord } from './entry.js'
import { createDatabaseRead, createSharedRead } from './lookup.js'
import type { DatabaseReadSettings, DatedRecord, TokenLookup } from './lookup.js'
import type { Doubts } from './doubts.js'
import type { Seal } from '../crypto/seal.js'
import { LEASE_MS } from '../tools/stale-window.js'

export interface ReadThroughSettings extends DatabaseReadSettings {
  cache: TokenCache
  availability: CacheAvailability
  /** Tokens for which the cache is not trusted. */
  doubts: Pick<Doubts, 'holdsToken' | 'holdsUser'>
  /** Distinguishes entries of servers from entries of anybody else who can write to the cache. */
  seal: Seal
  /** Total time of a cache miss, including the wait for another request's lookup. Unlimited if omitted. */
  deadline?: DeadlineSettings
  /** Whether an answer of the cache counts at this moment; always by default. */
  mayRead?: () => boolean
  /** Unique to this process, so that its leases differ from all others. */
  leaseOwner: string
}

/** Reading through the cache with leases, after "Scaling Memcache at Facebook" (Nishtala et al., 2013), section 3.2.1. */
export function createReadThrough (settings: ReadThroughSettings): TokenLookup {
  const { cache, availability, doubts, seal, deadline, clock, mayRead = () => true } = settings
  const readDatabase = createDatabaseRead(settings)
  const miss = createSharedRead(readThrough, deadline)
  let leases = 0

  // The clock may be slightly ahead of the database's: if an entry seems expired, SQL decides.
  function liveRecord (digest: Digest, value: string): CachedRecord | null {
    const cached = decodeRecord(seal, digest, value)
    if (cached === null || cached.endsAtMs <= clock.now() || doubts.holdsUser(cached.record.user.id as UserId)) return null
    return mayRead() ? cached : null
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
  function fill (digest: Digest, lease: string, { asOfMs, ...cached }: DatedRecord): void {
    const ttlMs = Math.floor(cached.endsAtMs - asOfMs)
    const value = encodeRecord(seal, digest, cached)
    if (value === null || ttlMs < 1) return
    cache.fill(digest, lease, value, ttlMs, LEASE_MS)
      .catch((error) => availability.failed('fill', error))
  }

  async function readThrough (digest: Digest): Promise<CachedRecord | null> {
    const mine = `L${settings.leaseOwner}:${leases++}`
    const value = await lease(digest, mine)
    if (value === TOMBSTONE) return null
    const cached = value === null ? null : liveRecord(digest, value)
    if (cached !== null) return cached
    const found = await readDatabase(digest)
    if (found !== null && value === mine) fill(digest, mine, found)
    return found
  }

  return {
    lookup (digest, done) {
      if (doubts.holdsToken(digest) || !availability.canRead()) return miss(digest, done)
      cache.get(digest, (error, value) => {
        if (error !== null) {
          availability.failed('get', error)
          return miss(digest, done)
        }
        availability.succeeded()
        if (value === TOMBSTONE) return done(null, null)
        const cached = value === null ? null : liveRecord(digest, value)
        return cached === null ? miss(digest, done) : done(null, cached)
      })
    },
    lookupFresh: readDatabase
  }
}
