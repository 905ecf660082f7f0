import type { Now } from '../../types/options.js'
import { monotonicNow } from './monotonic.js'

export interface OutageLog<Args extends unknown[]> {
  /** Logs the first failure of an outage; further ones are silent. */
  failed (...args: Args): void
  /** Ends the outage. `true` if there was one. */
  succeeded (): boolean
}

/** Logs once an outage: a dependency that is down fails at every request, and an attacker who guesses passwords must not fill the log. */
export function onceAnOutage<Args extends unknown[]> (log: (...args: Args) => void): OutageLog<Args> {
  let isDown = false
  return {
    failed (...args) {
      if (!isDown) log(...args)
      isDown = true
    },
    succeeded () {
      const hasEnded = isDown
      isDown = false
      return hasEnded
    }
  }
}

/** Logs the first call, and then at most one call every `ms` milliseconds; the calls between are silent. `now` is a monotonic clock. */
export function atMostEvery<Args extends unknown[]> (ms: number, log: (...args: Args) => void, now: Now = monotonicNow): (...args: Args) => void {
  let quietUntil = -Infinity
  return (...args) => {
    if (now() < quietUntil) return
    quietUntil = now() + ms
    log(...args)
  }
}
