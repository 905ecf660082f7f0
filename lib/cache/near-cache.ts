import { LRUCache } from 'lru-cache'
import type { TokenRecord } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import type { CachedRecord } from './entry.js'
import type { Lease } from './lease.js'

/** A read under way whose result the near cache may keep. */
export interface NearRead { readonly digest: Digest }

/** Live and ended tokens in this process. */
export interface NearCache {
  /** The live token; `ENDED` for one that was revoked; `undefined` if it is not known here. `nowMs`: the wall clock, if it has been read. */
  get (digest: Digest, nowMs?: number): TokenRecord | typeof ENDED | undefined
  /** Call before a read. `null`: its result is not kept. Every read must be settled. */
  begin (digest: Digest): NearRead | null
  /** Call after the read: keeps a live token, unless it was dropped since `begin`. */
  settle (read: NearRead, found: CachedRecord | null): void
  drop (digests: readonly Digest[]): void
  /** The same for tokens that have ended for good, which are refused for `ms` from now on. */
  end (digests: readonly Digest[], ms: number): void
  clear (): void
}

export interface NearCacheSettings {
  max: number
  /** When entries may be used. */
  lease: Lease
  /** Whether the result of a read that starts now may be kept. When that ends, `clear` must be called. */
  mayFill: () => boolean
  databaseClock: Pick<DatabaseClock, 'now'>
  now: Now
  monotonicNow: Now
}

export const ENDED = null

/** The monotonic clock stands still while a virtual machine is suspended, the other one may be set back: an entry ends by the clock that shows more. */
interface Entry { record: TokenRecord | typeof ENDED, endsAtMs: number, endsAtMonotonicMs: number }

/**
 * Tokens as the objects that requests share. An entry is used only under the lease, and ends with the token and with the entry of the cache
 * that it was read from.
 */
export function createNearCache ({ max, lease, mayFill, databaseClock, now, monotonicNow }: NearCacheSettings): NearCache {
  const entries = new LRUCache<Digest, Entry>({ max })
  // One read of a token may fill; an invalidation revokes that right. No more entries than reads under way.
  const reads = new Map<Digest, NearRead>()

  function keep (digest: Digest, record: TokenRecord | typeof ENDED, ms: number): void {
    entries.set(digest, { record, endsAtMs: now() + ms, endsAtMonotonicMs: monotonicNow() + ms })
  }

  function drop (digests: readonly Digest[]): void {
    for (const digest of digests) {
      entries.delete(digest)
      reads.delete(digest)
    }
  }

  return {
    get (digest, nowMs = now()) {
      const entry = entries.get(digest)
      if (entry === undefined) return undefined
      const monotonicMs = monotonicNow()
      if (nowMs >= entry.endsAtMs || monotonicMs >= entry.endsAtMonotonicMs) {
        entries.delete(digest)
        return undefined
      }
      return nowMs < lease.endsAtMs && monotonicMs < lease.endsAtMonotonicMs ? entry.record : undefined
    },
    begin (digest) {
      if (reads.has(digest) || !mayFill()) return null
      const read = { digest }
      reads.set(digest, read)
      return read
    },
    settle (read, found) {
      if (reads.get(read.digest) !== read) return
      reads.delete(read.digest)
      if (found !== null) keep(read.digest, found.record, found.endsAtMs - databaseClock.now())
    },
    drop,
    end (digests, ms) {
      drop(digests)
      for (const digest of digests) keep(digest, ENDED, ms)
    },
    clear () {
      entries.clear()
      reads.clear()
    }
  }
}
