import { untilDone } from '../tools/until-done.js'
import type { CacheAvailability } from './availability.js'
import type { TokenStore } from '../ports.js'
import type { TokenCache } from '../../types/cache.js'

export interface CatchUp {
  /** Starts to follow the cache's connection. */
  start (): void
  /** Distrusts the cache until everything that it may have forgotten is written again. */
  begin (): void
  /** Resolves when the first catching-up has succeeded. */
  readonly ready: Promise<void>
  close (): Promise<void>
}

export interface CatchUpSettings {
  cache: TokenCache
  availability: CacheAvailability
  listStale: TokenStore['listStale']
  /** Rejects where the database is a standby: what it lists may not be the latest. */
  assertPrimary: () => Promise<void>
  /** Life of the tombstones. */
  windowMs: number
  /** Called at every (re)connection and loss. */
  onConnection?: () => void
}

/** Rows of one statement, and commands under way at once. */
const PAGE = 5000
/** The tombstone of no token. It is always written, so that a Redis that takes no writes is never trusted. */
const NOBODY = 'nobody'

/**
 * Brings a cache up to date that may have come back empty, or from an old snapshot: before it is trusted again, the tombstones of all tokens that
 * it may contradict are written, and entries of users who were refreshed are dropped; the latest first.
 */
export function createCatchUp ({ cache, availability, listStale, assertPrimary, windowMs, onConnection = () => {} }: CatchUpSettings): CatchUp {
  const closing = new AbortController()
  const connection = { isUp: false }
  let round = Promise.resolve()
  let isRunning = false
  let wanted = 0
  let firstReady: () => void
  const ready = new Promise<void>((resolve) => { firstReady = resolve })

  // The next page is read while this one is written.
  async function rewriteAll (): Promise<void> {
    await assertPrimary()
    await cache.tombstone([NOBODY], windowMs)
    let page = listStale(null, PAGE)
    while (true) {
      const { revoked, refreshed, next } = await page
      if (next !== null) page = listStale(next, PAGE)
      page.catch(() => {})
      await Promise.all([cache.tombstone(revoked, windowMs), cache.drop(refreshed)])
      if (next === null) return
    }
  }

  // Done when a round has succeeded that began after the last call of begin(), or when the connection is lost.
  async function attempt (): Promise<boolean> {
    if (!connection.isUp) return finish()
    const target = wanted
    try {
      await rewriteAll()
    } catch (error) {
      availability.failed('catch-up', error as Error)
      return false
    }
    if (target !== wanted || !connection.isUp) return await attempt()
    availability.succeeded()
    availability.trust()
    firstReady()
    return finish()
  }

  // At once, so that a begin() of the same turn starts another run.
  function finish (): true {
    isRunning = false
    return true
  }

  function begin (): void {
    wanted++
    availability.distrust()
    if (isRunning) return
    isRunning = true
    round = untilDone(attempt, closing.signal)
  }

  return {
    start () {
      cache.onConnection((connected) => {
        connection.isUp = connected
        onConnection()
        if (connected) begin()
        else availability.distrust()
      })
    },
    begin,
    ready,
    async close () {
      closing.abort()
      await round
    }
  }
}
