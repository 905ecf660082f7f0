import type { TokenCache } from '../../types/cache.js'

/** The caches of all registrations in this process that use no Redis. */
const caches = new Set<TokenCache>()

/**
 * A cache in this process that ends a token in the caches of the other registrations, too: two of them may serve the same users. A digest is of
 * one token only, so it does no harm in a cache of other users.
 */
export function joinProcess (own: TokenCache): TokenCache {
  caches.add(own)
  const everywhere = async (write: (cache: TokenCache) => Promise<void>) => { await Promise.all([...caches].map(write)) }
  return {
    ...own,
    tombstone: async (digests, ttlMs) => await everywhere((cache) => cache.tombstone(digests, ttlMs)),
    drop: async (digests) => await everywhere((cache) => cache.drop(digests)),
    async close () {
      caches.delete(own)
      await own.close()
    }
  }
}
