import { isOwnError } from '../tools/own-error.js'
import { untilDone } from '../tools/until-done.js'
import type { CacheAvailability } from './availability.js'
import type { Heartbeat } from './heartbeat.js'
import type { TokenStore } from '../ports.js'
import type { TokenCache } from '../../types/cache.js'

export interface CatchUp {
  /** Starts to follow the cache's connection. */
  start (): void
  /** Distrusts the cache until everything that it may have lost is written again. */
  begin (): void
  /** The same; resolves when that is done. */
  run (): Promise<void>
  /** Resolves when the first catch-up has succeeded. */
  readonly ready: Promise<void>
  close (): Promise<void>
}

export interface CatchUpSettings {
  cache: TokenCache
  availability: CacheAvailability
  listStale: TokenStore['listStale']
  /** Rejects if the database is a standby: its list may be out of date. */
  assertPrimary: () => Promise<void>
  /** Its beginning fails if the cache takes no writes. */
  heartbeat: Pick<Heartbeat, 'begin'>
  /** Life of the tombstones. */
  windowMs: number
  /** Called at every (re)connection and loss. */
  onConnection?: () => void
}

/** Rows of one statement, and concurrent commands. */
const PAGE = 5000

/**
 * Brings a cache up to date that may have come back empty, or from an old snapshot. Before the cache is trusted again, it writes the tombstones
 * of all tokens that the cache may contradict, and drops the entries of refreshed users; the latest first.
 */
export function createCatchUp ({ cache, availability, listStale, assertPrimary, heartbeat, windowMs, onConnection = () => {} }: CatchUpSettings): CatchUp {
  const closing = new AbortController()
  const connection = { isUp: false }
  let round = Promise.resolve()
  let isRunning = false
  let wanted = 0
  const waiting: (() => void)[] = []
  const ready = done()

  function done (): Promise<void> {
    return new Promise((resolve) => waiting.push(resolve))
  }

  async function rewriteAll (): Promise<void> {
    await assertPrimary()
    await heartbeat.begin()
    const pages = listStale(PAGE)
    let next = pages.next()
    for (let page = await next; !page.done; page = await next) {
      // The next page is read while this one is written.
      next = pages.next()
      next.catch(() => {})
      await Promise.all([cache.tombstone(page.value.revoked, windowMs), cache.drop(page.value.refreshed)])
    }
  }

  // Done when a round that started after the last call of begin() has succeeded, or when the connection is lost.
  async function attempt (): Promise<boolean> {
    if (!connection.isUp) return finish()
    const target = wanted
    try {
      await rewriteAll()
    } catch (error) {
      // An error of our own is the database's, which is reported where it is used: the cache has not failed.
      if (!isOwnError(error)) availability.failed('catch-up', error as Error)
      return false
    }
    if (target !== wanted || !connection.isUp) return await attempt()
    availability.succeeded()
    availability.trust()
    for (const resolve of waiting.splice(0)) resolve()
    return finish()
  }

  // Synchronously, so that a begin() in the same turn starts another run.
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
    run () {
      begin()
      return done()
    },
    ready,
    async close () {
      closing.abort()
      await round
    }
  }
}
