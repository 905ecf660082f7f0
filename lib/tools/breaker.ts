import type { Now } from '../../types/options.js'

export interface Breaker {
  /** Whether the dependency may be called. When half open, true once per probe interval. */
  allows (): boolean
  succeeded (): void
  failed (): void
  readonly isOpen: boolean
}

const FAILURES_TO_OPEN = 5
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 5000

/**
 * Circuit breaker: opens after five failures in a row, lets one probe through after 0.5 s,
 * doubles the pause up to 5 s while probes fail, closes at the first success.
 */
export function createBreaker ({ now }: { now: Now }): Breaker {
  let failures = 0
  let pauseMs = FIRST_PAUSE_MS
  let probeAt = 0

  return {
    allows () {
      if (failures < FAILURES_TO_OPEN) return true
      if (now() < probeAt) return false
      probeAt = now() + pauseMs
      return true
    },
    succeeded () {
      failures = 0
      pauseMs = FIRST_PAUSE_MS
    },
    failed () {
      failures++
      if (failures < FAILURES_TO_OPEN) return
      probeAt = now() + pauseMs
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
    },
    get isOpen () { return failures >= FAILURES_TO_OPEN }
  }
}
