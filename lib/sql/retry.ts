import { setTimeout as sleep } from 'node:timers/promises'
import { isClosed, isLost, isRetryable } from './errors.js'
import { isGivenUp } from './unusable-clients.js'
import { monotonicNow as processNow } from '../tools/monotonic.js'

export interface RetrySettings {
  /** No retries after this time: the request has been answered. */
  timeoutMs: number
  /** Maximum number of connections of the pool: each of them may have to be dropped before a usable one is found. */
  connections: number
  pause?: (ms: number) => Promise<unknown>
  /** In [0, 1): spreads transactions that have collided. */
  jitter?: () => number
  monotonicNow?: () => number
}

/** `conflicts`: number of collisions so far. `isRead`: it changes nothing, so it can be repeated after a broken connection. */
export type Retry = <Result>(work: (conflicts: number) => Promise<Result>, isRead: boolean) => Promise<Result>

const MOST_CONFLICTS = 5
const FIRST_PAUSE_MS = 5

/** Retries statements that certainly had no effect: at once, or after a pause if they collided with another transaction. */
export function createRetry ({ timeoutMs, connections, pause = sleep, jitter = Math.random, monotonicNow = processNow }: RetrySettings): Retry {
  return async function retry (work, isRead) {
    const endsAt = monotonicNow() + timeoutMs
    const met = { conflicts: 0, useless: 0, lost: isRead ? 0 : Infinity }

    function pauseAfter (error: unknown): number | null {
      if (monotonicNow() >= endsAt) return null
      if (isRetryable(error) && met.conflicts < MOST_CONFLICTS) return FIRST_PAUSE_MS * 2 ** met.conflicts++ * (0.5 + 0.5 * jitter())
      if (isGivenUp(error) || isClosed(error)) return met.useless++ < connections ? 0 : null
      return isLost(error) && met.lost++ < 1 ? 0 : null
    }

    for (;;) {
      try {
        return await work(met.conflicts)
      } catch (error) {
        const ms = pauseAfter(error)
        if (ms === null) throw error
        if (ms > 0) await pause(ms)
      }
    }
  }
}
