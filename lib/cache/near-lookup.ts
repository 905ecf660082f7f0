import type { TokenRecord } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { Done, TokenLookup } from './lookup.js'
import { ENDED } from './near-cache.js'
import type { NearCache } from './near-cache.js'

/** What the rest of the plugin sees of the cache. */
export interface RecordLookup {
  /** What is in memory: the live token, `null` for one that has ended, `undefined` for one that must be looked up. */
  peek (digest: Digest, nowMs?: number): TokenRecord | null | undefined
  /** Call it after `peek`. */
  lookup (digest: Digest, done: Done<TokenRecord>): void
  lookupFresh (digest: Digest): Promise<TokenRecord | null>
}

/** The records of a lookup, each an object of its own. */
export function createRecordLookup (store: TokenLookup): RecordLookup {
  return {
    peek: () => undefined,
    lookup: (digest, done) => store.lookup(digest, (error, found) => done(error, found === null ? null : found.record)),
    lookupFresh: async (digest) => (await store.lookupFresh(digest))?.record ?? null
  }
}

/**
 * The records of a lookup behind a near cache. Requests share the user of an entry, so it is frozen. Every other record is frozen too,
 * otherwise a handler that writes to it would throw only occasionally.
 */
export function createNearLookup ({ near, store }: { near: NearCache, store: TokenLookup }): RecordLookup {
  return {
    peek: near.get,
    lookup (digest, done) {
      const read = near.begin(digest)
      store.lookup(digest, (error, found) => {
        deepFreeze(found)
        if (read !== null) near.settle(read, found)
        done(error, found === null ? ENDED : found.record)
      })
    },
    async lookupFresh (digest) {
      const found = await store.lookupFresh(digest)
      return found === null ? null : deepFreeze(found).record
    }
  }
}

function deepFreeze<Value> (value: Value): Value {
  if (typeof value !== 'object' || value === null) return value
  for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
