import type { AuthPluginOptions, UsersOptions } from '../../../lib/index.js'
import type { CheckerSettings } from './checker.js'

/** The allowed delay of a loaded machine beyond a bound. */
const SLACK_MS = 1000
const LEASE_MS = 2000

export type Mode = 'strict' | 'bounded' | 'near'

type Bounds = Pick<CheckerSettings, 'boundMs' | 'resurrectionMs' | 'profileMs'>

/** The TTL of cached tokens. It is long if no bound depends on it, so that a wrong entry stays visible. */
export const CACHE_TTL_MS: Record<Mode, number> = { strict: 60_000, bounded: 2000, near: 60_000 }

/** The values of `default_transaction_isolation` of the database. */
export const ISOLATIONS = ['read committed', 'repeatable read', 'serializable'] as const
export type Isolation = typeof ISOLATIONS[number]

export interface Variety { mode: Mode, isolation: Isolation, namespace: string }

/** The servers' options, and how stale an accept may be. */
export function optionsOf ({ mode, isolation, namespace }: Variety): { options: Partial<AuthPluginOptions>, bounds: Bounds } {
  const cacheTtlMs = CACHE_TTL_MS[mode]
  const entryMs = cacheTtlMs + LEASE_MS + SLACK_MS
  const cache = { ttl: cacheTtlMs, namespace }
  const users = usersOf(isolation)
  if (mode === 'strict') return { options: { cache, users }, bounds: { boundMs: 0, resurrectionMs: entryMs, profileMs: 0 } }
  if (mode === 'bounded') return { options: { cache, users, revocation: 'bounded' }, bounds: { boundMs: entryMs, resurrectionMs: entryMs, profileMs: 0 } }
  return { options: { cache: { ...cache, near: true }, users }, bounds: { boundMs: 0, resurrectionMs: entryMs, profileMs: 0 } }
}

// With the stricter levels no login writes to the user's row, which causes fewer serialization conflicts.
function usersOf (isolation: Isolation): UsersOptions {
  const select = ['version']
  return isolation === 'read committed' ? { select } : { table: 'users', columns: { lastLogin: null }, select }
}
