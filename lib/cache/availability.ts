import { digestOf } from '../crypto/token.js'
import type { Logger } from '../ports.js'
import { redactCommand } from '../redis/errors.js'
import { createBreaker } from '../tools/breaker.js'
import { atMostEvery } from '../tools/quiet-log.js'
import type { TokenCache } from '../../types/cache.js'
import type { Now } from '../../types/options.js'

/**
 * Whether the cache is read. It must answer (a circuit breaker), and it must be trusted: the latest revocations are known to be in it.
 * Otherwise tokens are looked up in SQL.
 */
export interface CacheAvailability {
  /** Whether a request may read the cache now. While the breaker is half open, one request at a time. */
  canRead (): boolean
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
  onError: ReportFailure
}

export function createCacheAvailability ({ monotonicNow, onError }: CacheAvailabilitySettings): CacheAvailability {
  const breaker = createBreaker({ now: monotonicNow })
  const listeners: (() => void)[] = []
  let isTrusted = false

  return {
    canRead: () => isTrusted && breaker.allows(),
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

/** Reads an unhealthy cache once, if that is due: a server without requests would otherwise not notice that it answers again. */
export async function probe (cache: TokenCache, availability: CacheAvailability): Promise<void> {
  if (availability.isHealthy() || !availability.canRead()) return
  await new Promise<void>((resolve) => {
    cache.get(digestOf(''), (error) => {
      if (error === null) availability.succeeded()
      else availability.failed('get', error)
      resolve()
    })
  })
}

export type ReportFailure = (operation: string, error: Error) => void

export interface FailureReporterSettings {
  /** Receives every failure. */
  onError: ReportFailure
  logger: Logger
  monotonicNow: Now
  message: string
}

const QUIET_MS = 10_000

/** Passes failures on without keys and values, and logs at most one in ten seconds: a cache that is away fails at every request. */
export function createFailureReporter ({ onError, logger, monotonicNow, message }: FailureReporterSettings): ReportFailure {
  const warn = atMostEvery(QUIET_MS, (operation: string, error: Error) => logger.warn({ err: error, operation }, message), monotonicNow)
  return (operation, failure) => {
    const error = redactCommand(failure)
    onError(operation, error)
    warn(operation, error)
  }
}
