import type { OutcomeWatcher, TokenStore } from '../ports.js'
import { staleWindowMs } from '../tools/stale-window.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { CacheAvailability } from './availability.js'
import { createCatchUp } from './catch-up.js'
import type { Doubts } from './doubts.js'
import { createRetriedWrites } from './retried-writes.js'

/** Keeps the cache from contradicting the database. */
export interface CacheConsistency {
  /** Resolves to whether the cache has acknowledged all tombstones; the rest is written in the background. */
  writeTombstones (digests: readonly Digest[]): Promise<boolean>
  /** The same for entries that are dropped. */
  dropEntries (digests: readonly Digest[]): Promise<boolean>
  /** Receives the calls whose outcome is unknown. */
  watcher: OutcomeWatcher
  /** Starts to follow the cache's connection. */
  start (): void
  /** Resolves when the cache is trusted for the first time. */
  readonly ready: Promise<void>
  close (): Promise<void>
}

export interface CacheConsistencySettings {
  cache: TokenCache
  cacheTtlMs: number
  availability: CacheAvailability
  doubts: Doubts
  listStale: TokenStore['listStale']
  assertPrimary: () => Promise<void>
}

export function createCacheConsistency ({ cache, cacheTtlMs, availability, doubts, listStale, assertPrimary }: CacheConsistencySettings): CacheConsistency {
  const windowMs = staleWindowMs(cacheTtlMs)
  const overflowed = () => catchUp.begin()
  const retrying = { availability, doubts, overflowed }
  const tombstones = createRetriedWrites({ operation: 'tombstone', isTerminal: true, send: (digests) => cache.tombstone(digests, windowMs), ...retrying })
  // A dropped entry is filled again by the next read.
  const drops = createRetriedWrites({ operation: 'drop', isTerminal: false, send: cache.drop, ...retrying })
  const catchUp = createCatchUp({ cache, availability, listStale, assertPrimary, windowMs, onConnection: tombstones.forget })

  return {
    writeTombstones: tombstones.write,
    dropEntries: drops.write,
    watcher: { doubt: doubts.begin, ended: tombstones.write, overflowed },
    start: catchUp.start,
    ready: catchUp.ready,
    async close () {
      await Promise.all([catchUp.close(), tombstones.close(), drops.close()])
    }
  }
}
