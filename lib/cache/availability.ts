import { createBreaker } from '../tools/breaker.js'
import type { Now } from '../../types/options.js'

export interface CacheAvailability {
  /** Whether a request may read the cache now. When the breaker is half open, one request at a time may. */
  admits (): boolean
  /** Whether the cache is trusted and answers. */
  isHealthy (): boolean
  isTrusted (): boolean
  trust (): void
  distrust (): void
  /** Calls `listener` at every loss of trust. */
  onDistrust (listener: () => void): void
  succeeded (): void
  failed (operation: string, error: Error): void
}

export interface CacheAvailabilitySettings {
  /** A monotonic clock, in milliseconds. */
  monotonicNow: Now
  onError: (operation: string, error: Error) => void
}

/**
 * Decides whether the cache is read. It is trusted once the latest revocations are known to be in it,
 * and asked as long as it answers; otherwise SQL is asked instead.
 */
export function createCacheAvailability ({ monotonicNow, onError }: CacheAvailabilitySettings): CacheAvailability {
  const breaker = createBreaker({ now: monotonicNow })
  const listeners: (() => void)[] = []
  let isTrusted = false

  return {
    admits: () => isTrusted && breaker.allows(),
    isHealthy: () => isTrusted && !breaker.isOpen,
    isTrusted: () => isTrusted,
    trust () { isTrusted = true },
    distrust () {
      isTrusted = false
      for (const listener of listeners) listener()
    },
    onDistrust (listener) { listeners.push(listener) },
    succeeded: breaker.succeeded,
    failed (operation, error) {
      breaker.failed()
      onError(operation, error)
    }
  }
}
