import { LRUCache } from 'lru-cache'
import type { TokenRecord } from '../ports.js'
import type { InvalidationChannel } from './invalidation-channel.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { TokenLookup } from './read-through.js'
import type { Moment, DatabaseClock } from '../tools/database-clock.js'

/** A read under way whose result the near cache may keep. */
export interface NearRead {
  readonly digest: Digest
  /** When it started, by the clocks of this process. */
  readonly sentAt: { readonly wallMs: number, readonly monotonicMs: number }
}

/** Live tokens in this process, kept while invalidations are being received. */
export interface NearCache {
  get (digest: Digest): TokenRecord | null
  /** Call before a read. `null`: its result is not kept. Every read must be settled. */
  begin (digest: Digest): NearRead | null
  /** Call after the read: keeps a live record, unless an invalidation arrived since `begin`. */
  settle (read: NearRead, record: TokenRecord | null): void
  drop (digests: readonly Digest[]): void
  clear (): void
}

export interface NearCacheSettings {
  max: number
  ttlMs: number
  clock: Pick<DatabaseClock, 'now' | 'moment' | 'since'>
  /** Whether every invalidation would arrive now. When that ends, `clear` must be called. */
  isSubscribed: () => boolean
}

interface Entry { record: TokenRecord, sentAt: Moment }

/**
 * Live tokens in this process. Entries are counted from the start of the read that found them, so that none
 * outlives a revocation by more than `ttlMs`, whatever happens to its invalidation.
 */
export function createNearCache ({ max, ttlMs, clock, isSubscribed }: NearCacheSettings): NearCache {
  const entries = new LRUCache<Digest, Entry>({ max })
  // One read of a token may fill; an invalidation revokes that right. No more entries than reads under way.
  const reads = new Map<Digest, NearRead>()

  return {
    get (digest) {
      const entry = entries.get(digest)
      if (entry === undefined) return null
      const { record, sentAt } = entry
      if (clock.since(sentAt) < ttlMs && clock.now() < Math.min(record.expiresAtMs, record.idleAtMs ?? Infinity)) return record
      entries.delete(digest)
      return null
    },
    begin (digest) {
      if (!isSubscribed() || reads.has(digest)) return null
      const read = { digest, sentAt: clock.moment() }
      reads.set(digest, read)
      return read
    },
    settle (read, record) {
      const { digest, sentAt } = read
      if (reads.get(digest) !== read) return
      reads.delete(digest)
      if (record !== null) entries.set(digest, { record, sentAt })
    },
    drop (digests) {
      for (const digest of digests) {
        entries.delete(digest)
        reads.delete(digest)
      }
    },
    clear () {
      entries.clear()
      reads.clear()
    }
  }
}

/**
 * The store behind a near cache. Requests share the user of an entry, so it is frozen. Every other record is frozen too,
 * otherwise a handler that writes to it would throw only occasionally.
 */
export function createNearLookup ({ near, store }: { near: NearCache, store: TokenLookup }): TokenLookup {
  return {
    lookup (digest, done) {
      const known = near.get(digest)
      if (known !== null) return done(null, known)
      const read = near.begin(digest)
      store.lookup(digest, (error, record) => {
        deepFreeze(record)
        if (read !== null) near.settle(read, record)
        done(error, record)
      })
    },
    async lookupFresh (digest) {
      return deepFreeze(await store.lookupFresh(digest))
    }
  }
}

/** The cache, which also drops the near entries of this process and of all others. */
export function createInvalidatingCache ({ cache, near, channel }: { cache: TokenCache, near: NearCache, channel: InvalidationChannel }): TokenCache {
  // Before, because the cache may hang; and again afterwards, because a read in between has found the old entry.
  // Other processes drop theirs when the cache has acknowledged: before, they would fill from the old entry again.
  async function invalidating (digests: readonly Digest[], write: Promise<void>): Promise<void> {
    near.drop(digests)
    await write.finally(() => near.drop(digests))
    await channel.publish(digests)
  }

  return {
    ...cache,
    tombstone: (digests, ttlMs) => invalidating(digests, cache.tombstone(digests, ttlMs)),
    drop: (digests) => invalidating(digests, cache.drop(digests))
  }
}

function deepFreeze<Value> (value: Value): Value {
  if (typeof value !== 'object' || value === null) return value
  for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
