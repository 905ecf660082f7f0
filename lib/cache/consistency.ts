import type { OutcomeWatcher, TokenStore } from '../ports.js'
import { staleWindowMs } from '../tools/stale-window.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { CacheAvailability } from './availability.js'
import { createCatchUp } from './catch-up.js'
import type { Doubts } from './doubts.js'
import type { Heartbeat } from './heartbeat.js'
import { createRetriedWrites } from './retried-writes.js'

/** Keeps the cache from contradicting the database. */
export interface CacheConsistency {
  /** Resolves to whether the cache has acknowledged all tombstones; the rest is written in the background. */
  writeTombstones (digests: readonly Digest[]): Promise<boolean>
  /** The same for entries that are dropped. */
  dropEntries (digests: readonly Digest[]): Promise<boolean>
  /** Call it when the cache has lost writes. */
  lostWrites (): void
  /** Receives the calls whose outcome is unknown. */
  watcher: OutcomeWatcher
  /** Starts to follow the cache's connection. */
  start (): void
  /** Distrusts the cache; resolves when everything that was revoked before this call has been written into it. */
  catchUp (): Promise<void>
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
  heartbeat: Pick<Heartbeat, 'begin' | 'beat'>
  /** Takes tokens out of the memory of every server. */
  withdraw: (digests: readonly Digest[]) => Promise<void>
  /** How long a caller waits for its write; unlimited if omitted. */
  timeoutMs?: number
}

export function createCacheConsistency ({ cache, cacheTtlMs, availability, doubts, listStale, assertPrimary, heartbeat, withdraw, timeoutMs }: CacheConsistencySettings): CacheConsistency {
  const windowMs = staleWindowMs(cacheTtlMs)
  const overflowed = () => catchUp.begin()
  const retrying = { onFailure: availability.failed, doubts, overflowed, timeoutMs }
  const tombstones = createRetriedWrites({ operation: 'tombstone', isTerminal: true, send: everywhere(writeAll), ...retrying })
  // A dropped entry is filled again by the next read.
  const drops = createRetriedWrites({ operation: 'drop', isTerminal: false, send: everywhere(cache.drop), ...retrying })
  let connections = 0
  const catchUp = createCatchUp({ cache, availability, listStale, assertPrimary, heartbeat, windowMs, onConnection: tombstones.forget })

  async function writeAll (digests: readonly Digest[]): Promise<void> {
    await cache.tombstone(digests, windowMs)
    await heartbeat.beat()
  }

  // In this order: a server that has dropped a token would read the old entry again. And both through one connection: a tombstone in a Redis
  // that has been replaced, and a message through the new one, reach nobody.
  function everywhere (write: (digests: readonly Digest[]) => Promise<void>): (digests: readonly Digest[]) => Promise<void> {
    return async (digests) => {
      const connection = connections
      await write(digests)
      await withdraw(digests)
      if (connection !== connections) throw new Error('the connection to Redis was replaced during the revocation')
    }
  }

  return {
    writeTombstones: tombstones.write,
    dropEntries: drops.write,
    lostWrites () {
      availability.failed('heartbeat', new Error('Redis has lost writes, or its data was replaced'))
      tombstones.forget()
      catchUp.begin()
    },
    watcher: { doubt: doubts.begin, ended: tombstones.write, overflowed },
    catchUp: catchUp.run,
    start () {
      cache.onConnection(() => { connections++ })
      catchUp.start()
    },
    ready: catchUp.ready,
    async close () {
      await Promise.all([catchUp.close(), tombstones.close(), drops.close()])
    }
  }
}
