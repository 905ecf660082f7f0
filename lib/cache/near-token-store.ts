import type { TokenLookup } from './read-through.js'
import type { InvalidationChannel, NearCache } from '../ports.js'
import type { Digest, TokenCache } from '../../types/cache.js'

/**
 * The store behind a near cache. Requests share an entry's user, so it is frozen; every other record is too,
 * or a handler's write would throw only now and then.
 */
export function createNearLookup ({ near, store }: { near: NearCache, store: TokenLookup }): TokenLookup {
  return {
    resolve (digest, done) {
      const known = near.get(digest)
      if (known !== null) return done(null, known)
      const read = near.begin(digest)
      store.resolve(digest, (error, record) => {
        deepFreeze(record)
        if (read !== null) near.settle(read, record)
        done(error, record)
      })
    },
    async resolveFresh (digest) {
      return deepFreeze(await store.resolveFresh(digest))
    }
  }
}

/** The cache, telling this process and all others of every entry that it ends. */
export function createInvalidatingCache ({ cache, near, channel }: { cache: TokenCache, near: NearCache, channel: InvalidationChannel }): TokenCache {
  // At once, because the cache may hang; and again, because a read in between has found the old entry.
  // The others are told when the cache has acknowledged: before, they would fill from the old entry again.
  async function telling (digests: readonly Digest[], write: Promise<void>): Promise<void> {
    near.drop(digests)
    await write.finally(() => near.drop(digests))
    await channel.publish(digests)
  }

  return {
    ...cache,
    tombstone: (digests, ttlMs) => telling(digests, cache.tombstone(digests, ttlMs)),
    drop: (digests) => telling(digests, cache.drop(digests))
  }
}

function deepFreeze<Value> (value: Value): Value {
  if (typeof value !== 'object' || value === null) return value
  for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
