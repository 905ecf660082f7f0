/**
 * What a client asked for, or an administrator. `fresh` reads with `authenticate.with({ fresh: true })`; `forged` reads with a well-formed
 * token that was never issued.
 */
export type Kind = 'read' | 'fresh' | 'forged' | 'login' | 'logout' | 'logout-all' | 'change' | 'delete-session' | 'deactivate' | 'activate' | 'delete-user'

/**
 * `ok`: 2xx. `refused`: 4xx, nothing was done. `unavailable`: 503, it may have been done, or be done later.
 * `unknown`: no answer, likewise. `wrong`: another status.
 */
export type Outcome = 'ok' | 'refused' | 'unavailable' | 'unknown' | 'wrong'

export interface Operation {
  kind: Kind
  /** The user it is about. */
  user: string
  /** The token that was presented. */
  token?: number
  /** The token that a login or a change answered with. */
  issued?: number
  /** The token whose session is deleted. */
  target?: number
  /** The password of a login, and the current one of a change. */
  password?: string
  newPassword?: string
  /** The server that was asked. */
  process: number
  /** One monotonic clock for all, in milliseconds. */
  invokedAt: number
  completedAt: number
  outcome: Outcome
  status: number | null
  /** Whom a read was answered for. */
  seen?: string
  /** Asked after the storm, with everything healthy: there must be a definite answer. */
  final?: boolean
}

export function outcomeOf (status: number | null): Outcome {
  if (status === null) return 'unknown'
  if (status === 503) return 'unavailable'
  if (status >= 200 && status < 300) return 'ok'
  return status >= 400 && status < 500 ? 'refused' : 'wrong'
}

/** Whether it has, or may have, or may yet have an effect. */
export function mayAct ({ outcome }: Operation): boolean {
  return outcome !== 'refused'
}

/** One line for a report. */
export function describe (operation: Operation): string {
  const { kind, user, process, invokedAt, completedAt, outcome, status, final, ...more } = operation
  const named = Object.entries(more).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${value}`).join(' ')
  return `${invokedAt.toFixed(1)}-${completedAt.toFixed(1)} ms ${kind} ${user} at server ${process}: ${status ?? 'no answer'} ${named}${final === true ? ' (after the storm)' : ''}`
}
