import type { UserHistory } from './coverage.js'
import { mayAct } from './history.js'
import type { Kind, Operation } from './history.js'

/** The scope that a limited token needs for each kind of operation. */
const NEEDED: Partial<Record<Kind, string>> = { orders: 'orders', change: 'auth', 'logout-all': 'auth', 'delete-session': 'auth' }
const INDEFINITE = [null, 401, 503]

/** What is wrong if a request was accepted or refused contrary to the token's scopes, or `null`. */
export function beyondScope (user: UserHistory, operation: Operation, token: number): string | null {
  const { kind, status, isBeyondScope = false, completedAt } = operation
  const needed = NEEDED[kind]
  const scopes = user.scopesOf(token)
  const has = needed === undefined || scopes === null || scopes.includes(needed)
  if (isBeyondScope && has) return `it was refused with ${told(scopes)}`
  // A token that another logout-all has revoked may complete that logout-all.
  const isFinishing = kind === 'logout-all' && user.operations.some((other) => other.kind === kind && other !== operation && mayAct(other) && other.invokedAt < completedAt)
  if (!isBeyondScope && !has && !INDEFINITE.includes(status) && !isFinishing) return `it was let in with ${told(scopes)}`
  return null
}

function told (scopes: string[] | null): string {
  return scopes === null ? 'every scope' : `the scopes [${scopes.join(', ')}]`
}

/** What is wrong if an accepted request began after the expiry of its token, by the clock of PostgreSQL, or `null`. */
export function beyondLife (user: UserHistory, { invokedAt }: Operation, token: number): string | null {
  const lateMs = invokedAt - user.hasExpiredBy(token)
  return lateMs > 0 ? `it was over for ${lateMs.toFixed(1)} ms` : null
}

export interface ProfileSettings {
  /** How long after a refresh another server may still show the old profile. */
  profileMs: number
}

/** What is wrong if a read shows an older profile than one that was refreshed before it began, or `null`. */
export function olderProfile ({ refreshes }: UserHistory, { kind, version, invokedAt }: Operation, { profileMs }: ProfileSettings): string | null {
  if (version === undefined || kind === 'refresh') return null
  const refreshed = refreshes.filter((other) => other.completedAt + profileMs < invokedAt)
  const least = Math.max(0, ...refreshed.map((refresh) => refresh.version!))
  return version < least ? `it showed version ${version} after ${least}` : null
}
