import { setTimeout as pause } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { CacheGate } from './cache-gate.js'
import type { Digest } from '../../types/ports.js'
import type { Doubts } from './doubts.js'

export interface CertainWrites {
  /** Resolves to whether the cache has acknowledged all; what it has not is written in the background until it does. Never rejects. */
  write (digests: readonly Digest[]): Promise<boolean>
  /** Forgets what was acknowledged: the cache may have lost it. */
  forget (): void
  close (): Promise<void>
}

export interface CertainWritesSettings {
  operation: string
  send: (digests: readonly Digest[]) => Promise<void>
  gate: CacheGate
  /** These tokens are in doubt until their write is acknowledged. */
  doubts: Doubts
  /** Called where there is too much to keep. */
  overflowed: () => void
}

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5000
/** Writes that are repeated; with more, the cache as a whole is brought up to date from SQL. */
const MOST = 10_000

/** Writes that a cache must take: repeated until it has, and then not again, however often they are asked for. */
export function createCertainWrites ({ operation, send, gate, doubts, overflowed }: CertainWritesSettings): CertainWrites {
  const acknowledged = new LRUCache<Digest, true>({ max: MOST })
  const pending = new Map<Digest, () => void>()
  const closing = new AbortController()
  let repeating: Promise<void> | null = null

  async function attempt (digests: readonly Digest[]): Promise<boolean> {
    try {
      await send(digests)
      for (const digest of digests) acknowledged.set(digest, true)
      return true
    } catch (error) {
      gate.failed(operation, error as Error)
      return false
    }
  }

  function keep (digests: readonly Digest[]): void {
    if (pending.size + digests.length > MOST) return overflowed()
    for (const digest of digests) if (!pending.has(digest)) pending.set(digest, doubts.begin({ digest }))
    repeating ??= repeat().finally(() => { repeating = null })
  }

  function settle (digests: readonly Digest[]): void {
    for (const digest of digests) {
      pending.get(digest)?.()
      pending.delete(digest)
    }
  }

  async function repeat (): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS
    while (pending.size > 0) {
      await pause(pauseMs, undefined, { ref: false, signal: closing.signal }).catch(() => {})
      if (closing.signal.aborted) return
      const digests = [...pending.keys()]
      if (await attempt(digests)) settle(digests)
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
    }
  }

  return {
    async write (digests) {
      const wanted = digests.filter((digest) => !acknowledged.has(digest))
      if (wanted.length === 0 || await attempt(wanted)) return true
      keep(wanted)
      return false
    },
    forget () { acknowledged.clear() },
    async close () {
      closing.abort()
      await repeating
    }
  }
}
