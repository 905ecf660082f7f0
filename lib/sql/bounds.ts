import { OVERLOADED } from '../errors.js'
import { createSemaphore } from '../tools/semaphore.js'
import type { Semaphore } from '../tools/semaphore.js'

/**
 * How many connections may serve requests without a proven token or password. The other connections are reserved for
 * requests that have one.
 */
export interface Bounds {
  /** Statements that a token causes, whether it is live or made up. */
  lookups: Semaphore
  /** Statements that a login causes before its password is verified. */
  logins: Semaphore
}

export interface BoundsSettings {
  /** Lookups at once; half of the pool if `null`. */
  concurrency: number | null
  queue: number
  maxWaitMs: number
}

export function createBounds (lookup: BoundsSettings, poolSize: number): Bounds {
  const overloaded = () => new OVERLOADED()
  const concurrency = lookup.concurrency ?? Math.max(1, Math.floor(poolSize / 2))
  return {
    lookups: createSemaphore({ ...lookup, concurrency, overloaded }),
    logins: createSemaphore({ ...lookup, concurrency: Math.ceil(poolSize / 4), overloaded })
  }
}
