import { LRUCache } from 'lru-cache'
import type { TokenCache } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import { TOMBSTONE } from '../../lib/cache/entry.js'

/**
 * The in-process cache: the same protocol as Redis for a server of one process.
 * Bounded; evicted tokens are looked up in SQL again.
 */
export function createMemoryCache ({ max, now }: { max: number, now: Now }): TokenCache {
  const entries = new LRUCache<string, string>({ max, ttlResolution: 0, perf: { now } })

  return {
    get (digest, done) {
      done(null, entries.get(digest) ?? null)
    },
    async getOrLease (digest, lease, leaseMs) {
      const value = entries.get(digest)
      if (value !== undefined) return value
      entries.set(digest, lease, { ttl: leaseMs })
      return lease
    },
    async fill (digest, lease, value, ttlMs, leaseMs) {
      if (entries.get(digest) !== lease) return
      const leftMs = ttlMs - (leaseMs - entries.getRemainingTTL(digest))
      if (leftMs > 0) entries.set(digest, value, { ttl: leftMs })
      else entries.delete(digest)
    },
    async tombstone (digests, ttlMs) {
      for (const digest of digests) entries.set(digest, TOMBSTONE, { ttl: ttlMs })
    },
    async drop (digests) {
      for (const digest of digests) entries.delete(digest)
    },
    async holdsTombstone (digest) {
      return entries.get(digest) === TOMBSTONE
    },
    onConnection (listener) {
      listener(true)
    },
    async close () {
      entries.clear()
    }
  }
}
