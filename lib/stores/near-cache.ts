import { LRUCache } from 'lru-cache'
import type { Digest, NearCache, NearRead, Now, TokenRecord } from '../../types/ports.js'

export interface NearCacheSettings {
  max: number
  ttlMs: number
  now: Now
  /** Measures `ttlMs` too, since `now` may be set back. */
  monotonicNow: Now
  /** Whether every end of a token would be heard of now. Where that ends, `clear` must be called. */
  isTold: () => boolean
}

interface Entry { record: TokenRecord, sinceMs: number, untilMs: number, monotonicUntilMs: number }

/**
 * Live tokens in this process. Entries are counted from the start of the read that found them, so that none
 * outlives a revocation by more than `ttlMs`, whoever fails to tell of it.
 */
export function createNearCache ({ max, ttlMs, now, monotonicNow, isTold }: NearCacheSettings): NearCache {
  const entries = new LRUCache<Digest, Entry>({ max })
  // One read of a token may fill; an invalidation takes it away. No more than there are reads under way.
  const reads = new Map<Digest, NearRead>()

  return {
    get (digest) {
      const entry = entries.get(digest)
      if (entry === undefined) return null
      const at = now()
      if (at >= entry.sinceMs && at < entry.untilMs && monotonicNow() < entry.monotonicUntilMs) return entry.record
      entries.delete(digest)
      return null
    },
    begin (digest) {
      if (!isTold() || reads.has(digest)) return null
      const read = { digest, startedAtMs: now(), monotonicStartedAtMs: monotonicNow() }
      reads.set(digest, read)
      return read
    },
    settle (read, record) {
      const { digest, startedAtMs: sinceMs, monotonicStartedAtMs } = read
      if (reads.get(digest) !== read) return
      reads.delete(digest)
      if (record === null) return
      const untilMs = Math.min(sinceMs + ttlMs, record.expiresAtMs, record.idleAtMs ?? Infinity)
      entries.set(digest, { record, sinceMs, untilMs, monotonicUntilMs: monotonicStartedAtMs + ttlMs })
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
