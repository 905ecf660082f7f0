import type { UserHistory } from './coverage.js'
import { mayAct } from './history.js'
import type { Kind, Operation } from './history.js'

/** What a token must not be limited without. */
const NEEDED: Partial<Record<Kind, string>> = { orders: 'orders', change: 'auth', 'logout-all': 'auth', 'delete-session': 'auth' }
const INDEFINITE = [null, 401, 503]

/** Whether it was let in, or refused, for other scopes than the token has; what is wrong, or `null`. */
export function beyondScope (user: UserHistory, operation: Operation, token: number): string | null {
  const { kind, status, isBeyondScope = false, completedAt } = operation
  const needed = NEEDED[kind]
  const scopes = user.scopesOf(token)
  const has = needed === undefined || scopes === null || scopes.includes(needed)
  if (isBeyondScope && has) return `it was refused with ${told(scopes)}`
  // One that another logout-all has ended may finish that.
  const isFinishing = kind === 'logout-all' && user.operations.some((other) => other.kind === kind && other !== operation && mayAct(other) && other.invokedAt < completedAt)
  if (!isBeyondScope && !has && !INDEFINITE.includes(status) && !isFinishing) return `it was let in with ${told(scopes)}`
  return null
}

function told (scopes: string[] | null): string {
  return scopes === null ? 'every scope' : `the scopes [${scopes.join(', ')}]`
}

/** Whether an accepted request began after the end of its token, by the clock of PostgreSQL. */
export function beyondLife (user: UserHistory, { invokedAt }: Operation, token: number): string | null {
  const lateMs = invokedAt - user.hasExpiredBy(token)
  return lateMs > 0 ? `it was over for ${lateMs.toFixed(1)} ms` : null
}

export interface ProfileSettings {
  /** How long after a refresh another server may show what was before. */
  profileMs: number
}

/** Whether a read shows a profile older than one that was refreshed before it began. */
export function olderProfile ({ refreshes }: UserHistory, { kind, version, invokedAt }: Operation, { profileMs }: ProfileSettings): string | null {
  if (version === undefined || kind === 'refresh') return null
  const refreshed = refreshes.filter((other) => other.completedAt + profileMs < invokedAt)
  const least = Math.max(0, ...refreshed.map((refresh) => refresh.version!))
  return version < least ? `it showed version ${version} after ${least}` : null
}
