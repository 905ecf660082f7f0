import { setTimeout as pause } from 'node:timers/promises'
import type { CacheGate } from './cache-gate.js'
import type { Digest, TokenCache, TokenReader } from '../../types/ports.js'
import { LEASE_MS } from './cached-token-store.js'

export interface Tombstones {
  /** Writes tombstones; `false` where the cache did not acknowledge them all. They are then written in the background. */
  write (digests: readonly Digest[]): Promise<boolean>
  /** Starts to follow the cache's connection. */
  start (): void
  /** Resolves when the first catching-up has succeeded. */
  readonly ready: Promise<void>
  /** Rewrites every recent tombstone before the cache is trusted again. */
  catchUp (): void
  close (): Promise<void>
}

export interface TombstoneSettings {
  cache: TokenCache
  gate: CacheGate
  recentlyRevoked: TokenReader['recentlyRevoked']
  cacheTtlMs: number
}

const PAGE = 500
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5000

/**
 * The longest from a revocation's instant to its commit. The rows are locked by then, but statements may follow, and a server or a database may be
 * frozen for a while.
 */
const TRANSACTION_MS = 30_000

/**
 * How long after a revocation's instant an entry made from a read before its commit can live: the transaction, the lease, the entry.
 * Tombstones last that long, and only revocations that young are rewritten.
 */
export function staleWindowMs (cacheTtlMs: number): number {
  return cacheTtlMs + LEASE_MS + TRANSACTION_MS
}

/**
 * Tells the cache of revocations. What it did not acknowledge, and everything recent after a lost
 * connection (Redis may come back empty, or from an old snapshot), is written again from SQL.
 */
export function createTombstones ({ cache, gate, recentlyRevoked, cacheTtlMs }: TombstoneSettings): Tombstones {
  const windowMs = staleWindowMs(cacheTtlMs)
  const closing = new AbortController()
  const connection = { isUp: false }
  let round = Promise.resolve()
  let isRunning = false
  let wanted = 0
  let firstReady: () => void
  const ready = new Promise<void>((resolve) => { firstReady = resolve })

  async function rewriteAll (): Promise<void> {
    let cursor: string | null = null
    do {
      const page: { digests: Digest[], next: string | null } = await recentlyRevoked(windowMs, cursor, PAGE)
      await cache.tombstone(page.digests, windowMs)
      cursor = page.next
    } while (cursor !== null)
  }

  // Loops until a round has succeeded that began after the last call of catchUp().
  async function run (): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS
    while (connection.isUp && !closing.signal.aborted) {
      const target = wanted
      try {
        await rewriteAll()
        if (target === wanted && connection.isUp) return becomeTrusted()
      } catch (error) {
        gate.failed('catch-up', error as Error)
        await pause(pauseMs, undefined, { ref: false, signal: closing.signal }).catch(() => {})
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
      }
    }
    isRunning = false
  }

  function becomeTrusted (): void {
    isRunning = false
    gate.succeeded()
    gate.trust()
    firstReady()
  }

  function catchUp (): void {
    wanted++
    gate.distrust()
    if (isRunning) return
    isRunning = true
    round = run()
  }

  return {
    async write (digests) {
      if (digests.length === 0) return true
      try {
        await cache.tombstone(digests, windowMs)
        return true
      } catch (error) {
        gate.failed('tombstone', error as Error)
        catchUp()
        return false
      }
    },
    start () {
      cache.onConnection((connected) => {
        connection.isUp = connected
        if (connected) catchUp()
        else gate.distrust()
      })
    },
    ready,
    catchUp,
    async close () {
      closing.abort()
      await round
    }
  }
}
