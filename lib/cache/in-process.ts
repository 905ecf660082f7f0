import type { NearCache } from './near-cache.js'

/** The near caches of all registrations in this process. */
const caches = new Set<NearCache>()

export interface Joined extends NearCache {
  leave (): void
}

/**
 * A near cache that drops a token from those of the other registrations in this process, too: two of them may serve the same users. A digest is of
 * one token only, so it does no harm in a cache of other users.
 */
export function joinProcess (own: NearCache): Joined {
  caches.add(own)
  return {
    ...own,
    drop (digests) { for (const cache of caches) cache.drop(digests) },
    end (digests, ms) { for (const cache of caches) cache.end(digests, ms) },
    leave () {
      caches.delete(own)
      own.clear()
    }
  }
}
