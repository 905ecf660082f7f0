import { LRUCache } from 'lru-cache'
import type { NearCache, NearRead, TokenRecord } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { Asked, DatabaseClock } from '../tools/database-clock.js'

export interface NearCacheSettings {
  max: number
  ttlMs: number
  clock: Pick<DatabaseClock, 'now' | 'ask' | 'since'>
  /** Whether every end of a token would be heard of now. Where that ends, `clear` must be called. */
  isTold: () => boolean
}

interface Entry { record: TokenRecord, asked: Asked }

/**
 * Live tokens in this process. Entries are counted from the start of the read that found them, so that none
 * outlives a revocation by more than `ttlMs`, whoever fails to tell of it.
 */
export function createNearCache ({ max, ttlMs, clock, isTold }: NearCacheSettings): NearCache {
  const entries = new LRUCache<Digest, Entry>({ max })
  // One read of a token may fill; an invalidation takes it away. No more than there are reads under way.
  const reads = new Map<Digest, NearRead>()

  return {
    get (digest) {
      const entry = entries.get(digest)
      if (entry === undefined) return null
      const { record, asked } = entry
      if (clock.since(asked) < ttlMs && clock.now() < Math.min(record.expiresAtMs, record.idleAtMs ?? Infinity)) return record
      entries.delete(digest)
      return null
    },
    begin (digest) {
      if (!isTold() || reads.has(digest)) return null
      const read = { digest, asked: clock.ask() }
      reads.set(digest, read)
      return read
    },
    settle (read, record) {
      const { digest, asked } = read
      if (reads.get(digest) !== read) return
      reads.delete(digest)
      if (record !== null) entries.set(digest, { record, asked })
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
