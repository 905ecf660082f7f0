import type { CacheGate } from './cache-gate.js'
import type { Digest, FoundToken, Now, TokenCache, TokenRecord } from '../../types/ports.js'
import { withDeadline } from '../concurrency/deadline.js'
import type { DeadlineSettings } from '../concurrency/deadline.js'
import { createNextBatch } from '../concurrency/next-batch.js'
import { decodeRecord, encodeRecord, TOMBSTONE } from './cache-record.js'
import type { Seal } from './seal.js'

/** How long a reader may take to ask SQL and fill. A fill after that is refused, never wrong. */
export const LEASE_MS = 2000

export interface CachedTokenStore {
  /** The live token's record or `null`; by callback, so that a hit costs no promise of ours. */
  resolve (digest: Digest, done: (error: Error | null, record: TokenRecord | null) => void): void
  /** The same, from SQL. */
  resolveFresh (digest: Digest): Promise<TokenRecord | null>
}

export interface CachedTokenStoreSettings {
  cache: TokenCache
  gate: CacheGate
  /** Tells entries of servers from those of whoever else can write to the cache. */
  seal: Seal
  /** Asks SQL, bounded in number and time. */
  find: (digest: Digest) => Promise<FoundToken | null>
  /** Of a request that finds nothing in the cache, since it may wait for another's look-up before its own. Without it: as long as those take. */
  deadline?: DeadlineSettings
  ttlMs: number
  now: Now
  /** Unique to this process, so that its leases are told from all others. */
  leaseOwner: string
  /** In [0, 1): spreads the expiry of entries that were filled together. */
  jitter: () => number
}

/** Reading through the cache with leases, after "Scaling Memcache at Facebook" (Nishtala et al., 2013), section 3.2.1. */
export function createCachedTokenStore (settings: CachedTokenStoreSettings): CachedTokenStore {
  const { cache, gate, seal, find, deadline, now } = settings
  const joinMiss = createNextBatch(readThrough)
  const awaitMiss = (digest: Digest) => deadline === undefined ? joinMiss(digest) : withDeadline(joinMiss(digest), deadline)
  let leases = 0

  // By our clock an entry may look ended that by the database's is not: then SQL decides.
  // It cannot outlive the token, since Redis removes it after the life that SQL told.
  function liveRecord (digest: Digest, value: string): TokenRecord | null {
    const record = decodeRecord(seal, digest, value)
    if (record === null || record.expiresAtMs <= now()) return null
    return record.idleAtMs === null || record.idleAtMs > now() ? record : null
  }

  async function lease (digest: Digest, lease: string): Promise<string | null> {
    if (!gate.isHealthy()) return null
    try {
      return await cache.getOrLease(digest, lease, LEASE_MS)
    } catch (error) {
      gate.failed('lease', error as Error)
      return null
    }
  }

  function fill (digest: Digest, lease: string, { record, remainingMs }: FoundToken): void {
    const ttlMs = Math.floor(Math.min(settings.ttlMs * (1 - 0.1 * settings.jitter()), remainingMs))
    const value = encodeRecord(seal, digest, record)
    if (value === null || ttlMs < 1) return
    cache.fill(digest, lease, value, ttlMs)
      .catch((error) => gate.failed('fill', error))
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
    resolve (digest, done) {
      // Cloned: callers who shared a run must not share the object that becomes their request.user.
      const miss = () => { awaitMiss(digest).then((record) => done(null, structuredClone(record)), (error) => done(error, null)) }
      if (!gate.admits()) return miss()
      cache.get(digest, (error, value) => {
        if (error !== null) {
          gate.failed('get', error)
          return miss()
        }
        gate.succeeded()
        if (value === TOMBSTONE) return done(null, null)
        const record = value === null ? null : liveRecord(digest, value)
        return record === null ? miss() : done(null, record)
      })
    },
    async resolveFresh (digest) {
      const found = await find(digest)
      return found?.record ?? null
    }
  }
}
