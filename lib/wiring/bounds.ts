import { createSemaphore } from '../tools/semaphore.js'
import type { Semaphore } from '../tools/semaphore.js'
import { OVERLOADED } from '../errors.js'
import type { Settings } from '../options/read.js'

/**
 * How many connections may serve requests that have shown neither a live token nor a right password. The other connections are left for
 * requests that have.
 */
export interface Bounds {
  /** Statements that a token causes, whether it is live or made up. */
  lookups: Semaphore
  /** Statements that a login causes before its password is looked at. */
  logins: Semaphore
}

export function createBounds (lookup: Settings['lookup'], poolSize: number): Bounds {
  const overloaded = () => new OVERLOADED()
  const concurrency = lookup.concurrency ?? Math.max(1, Math.floor(poolSize / 2))
  return {
    lookups: createSemaphore({ ...lookup, concurrency, overloaded }),
    logins: createSemaphore({ ...lookup, concurrency: Math.ceil(poolSize / 4), overloaded })
  }
}

/** The same port with some of its calls under a bound. A place is kept until the statement has settled, whatever becomes of who asked. */
export function bounded<Port extends object> (port: Port, bound: Semaphore, names: (keyof Port)[]): Port {
  const calls = names.map((name) => [name, (...args: unknown[]) => bound.run(() => (port[name] as (...args: unknown[]) => Promise<unknown>)(...args))])
  return { ...port, ...Object.fromEntries(calls) }
}
