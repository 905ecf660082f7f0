import type { AuthPluginOptions } from '../../../lib/index.js'
import type { CheckerSettings } from './checker.js'

/** A loaded machine may be late by so much in what has a bound. */
const SLACK_MS = 1000
const LEASE_MS = 2000
const NEAR_TTL_MS = 1000

export type Mode = 'strict' | 'bounded' | 'near'

/** Life of a cached token. Long, where no bound depends on it: what is wrong stays to be seen. */
export const CACHE_TTL_MS: Record<Mode, number> = { strict: 60_000, bounded: 2000, near: 60_000 }

/** Each mode: the servers' options, and how stale an accept may be. */
export function optionsOf (mode: Mode, cacheTtlMs: number): { options: Partial<AuthPluginOptions>, bounds: Pick<CheckerSettings, 'boundMs' | 'resurrectionMs'> } {
  const boundMs = cacheTtlMs + LEASE_MS + SLACK_MS
  const cache = { ttl: cacheTtlMs, namespace: `${mode}:` }
  if (mode === 'strict') return { options: { cache }, bounds: { boundMs: 0, resurrectionMs: boundMs } }
  if (mode === 'bounded') return { options: { cache, revocation: 'bounded' }, bounds: { boundMs, resurrectionMs: boundMs } }
  return {
    options: { cache: { ...cache, near: { ttl: NEAR_TTL_MS } } },
    bounds: { boundMs: NEAR_TTL_MS + SLACK_MS, resurrectionMs: boundMs + NEAR_TTL_MS }
  }
}
