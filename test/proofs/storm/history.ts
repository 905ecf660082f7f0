/**
 * The request of a client or an administrator. `fresh` reads with `authenticate.with({ fresh: true })`; `forged` reads with a well-formed
 * token that was never issued; `orders` reads a route that needs the scope of that name. `refresh` has changed the user's profile in
 * SQL before.
 */
export type Kind = 'read' | 'fresh' | 'forged' | 'orders' | 'login' | 'issue' | 'logout' | 'logout-all' | 'change' | 'delete-session' | 'deactivate' | 'activate' | 'delete-user' | 'refresh'

/**
 * `ok`: 2xx. `refused`: 4xx, nothing was done. `unavailable`: 503, it may have been done, or be done later.
 * `unknown`: no answer, likewise. `wrong`: another status.
 */
export type Outcome = 'ok' | 'refused' | 'unavailable' | 'unknown' | 'wrong'

export interface Operation {
  kind: Kind
  /** The user of the operation. */
  user: string
  /** The token that was presented. */
  token?: number
  /** The token that a login, a change or an issue returned. */
  issued?: number
  /** When that token expires, by the clock of PostgreSQL. */
  expiresAtMs?: number
  /** The lifetime that an issue requested. */
  ttlMs?: number
  /** The scopes that an issue requested. */
  scopes?: string[]
  /** The token's scopes do not allow this: the answer was 403. */
  isBeyondScope?: true
  /** The token whose session is deleted. */
  target?: number
  /** The password of a login, and the current one of a change. */
  password?: string
  newPassword?: string
  /** The server that got the request. */
  process: number
  /** One monotonic clock for all, in milliseconds. */
  invokedAt: number
  completedAt: number
  outcome: Outcome
  status: number | null
  /** The user in the answer of a read. */
  seen?: string
  /** The profile's version that a read has shown, or that a refresh has written before. */
  version?: number
  /** Whether a refresh reached the cache. */
  isRefreshed?: boolean
  /** Sent after the storm, with everything healthy: there must be a definite answer. */
  final?: boolean
}

export function outcomeOf (status: number | null): Outcome {
  if (status === null) return 'unknown'
  if (status === 503) return 'unavailable'
  if (status >= 200 && status < 300) return 'ok'
  return status >= 400 && status < 500 ? 'refused' : 'wrong'
}

/** Whether it had an effect, or may have or get one. */
export function mayAct ({ outcome }: Operation): boolean {
  return outcome !== 'refused'
}

/** One line for a report. */
export function describe (operation: Operation): string {
  const { kind, user, process, invokedAt, completedAt, outcome, status, final, ...more } = operation
  const named = Object.entries(more).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${value}`).join(' ')
  return `${invokedAt.toFixed(1)}-${completedAt.toFixed(1)} ms ${kind} ${user} at server ${process}: ${status ?? 'no answer'} ${named}${final === true ? ' (after the storm)' : ''}`
}
