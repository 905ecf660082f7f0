import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { TokenCache } from '../../lib/index.js'
import { tokenCacheContract } from '../../lib/testing/index.js'

export const newDigest = () => randomBytes(32).toString('base64url')

export function get (cache: TokenCache, digest: string): Promise<string | null> {
  return new Promise((resolve, reject) => cache.get(digest, (error, value) => error === null ? resolve(value) : reject(error)))
}

/** Tests what every cache must do, one test each. `passTime` advances the cache's clock by `ms` milliseconds; without it the tests wait. */
export function contract (t: Test, cache: TokenCache, passTime?: (ms: number) => void | Promise<void>): void {
  const subject = { createCache: () => cache, timeoutMs: 50_000, ...(passTime === undefined ? {} : { passTime }) }
  for (const { name, run } of tokenCacheContract) t.test(name, () => run(subject))
}
