import type { ClockOffset } from './clock.js'
import { readUser } from './coverage.js'
import type { UserHistory } from './coverage.js'
import { describe } from './history.js'
import type { Kind, Operation } from './history.js'
import { beyondLife, beyondScope, olderProfile } from './rules.js'
import type { ProfileSettings } from './rules.js'

export interface CheckerSettings extends ProfileSettings {
  /** How long after a completed revocation a token may still be accepted; 0 in strict mode. */
  boundMs: number
  /** How long after a refusal a token may still be accepted, because its revocation is not acknowledged yet. */
  resurrectionMs: number
  maxPerUser: number
  /** Converts times of PostgreSQL to those of the history. */
  clock: ClockOffset
}

export interface Violation {
  rule: string
  operation: Operation
  because: string
}

export interface Verdict {
  violations: Violation[]
  /** The longest time from a completed revocation to the start of an accepted request; 0 if there was none. */
  maxStalenessMs: number
  /** How many such requests were accepted: within the bound, unless they are among the violations. */
  staleAccepts: number
}

/** Statuses below 500 that an operation may answer. */
const STATUSES: Record<Kind, number[]> = {
  read: [200, 401],
  fresh: [200, 401],
  forged: [401],
  orders: [200, 401, 403],
  login: [200, 401],
  issue: [200, 404],
  logout: [204, 401],
  'logout-all': [204, 401, 403],
  change: [200, 401, 403],
  'delete-session': [204, 401, 403, 404],
  deactivate: [204, 404],
  activate: [204, 404],
  'delete-user': [204],
  refresh: [200]
}
/** Statuses that show that the token was accepted. */
const ACCEPTED: Partial<Record<Kind, number[]>> = { read: [200], fresh: [200], orders: [200, 403], change: [200, 403], 'logout-all': [403], 'delete-session': [204, 403, 404] }
/** Operations that query PostgreSQL each time, without a cache and therefore without a bound. */
const FRESH = new Set<Kind>(['fresh', 'change', 'logout-all'])

export function isAccept ({ kind, status }: Operation): boolean {
  return ACCEPTED[kind]?.includes(status!) === true
}

/**
 * Checks a history of invocations and completions. Revocation is terminal, so each rule is a comparison of
 * times and not a search: what must have taken effect before an operation began, and what may have before it ended.
 */
export function check (history: readonly Operation[], settings: CheckerSettings): Verdict {
  const violations: Violation[] = []
  let maxStalenessMs = 0
  let staleAccepts = 0
  for (const operation of history) {
    if (operation.outcome === 'wrong') report('no 5xx but 503', operation, `status ${operation.status}`)
    else if (operation.kind === 'forged' && operation.outcome === 'ok') report('no accept of a token never issued', operation, 'it was accepted')
    else if (operation.status !== null && operation.status !== 503 && !STATUSES[operation.kind].includes(operation.status)) report('only documented statuses', operation, `status ${operation.status}`)
    if (operation.final === true && (operation.outcome === 'unavailable' || operation.outcome === 'unknown')) report('everything recovers', operation, 'after the storm there was no definite answer')
    if (operation.seen !== undefined && operation.seen !== operation.user) report('a token speaks for its user', operation, `it was answered for ${operation.seen}`)
  }
  for (const operations of byUser(history).values()) checkUser(readUser(operations, settings))
  return { violations, maxStalenessMs, staleAccepts }

  function report (rule: string, operation: Operation, because: string): void {
    violations.push({ rule, operation, because })
  }

  function checkUser (user: UserHistory): void {
    for (const operation of user.operations) {
      if (operation.token !== undefined) checkToken(user, operation, operation.token)
      if (operation.password !== undefined) checkPassword(user, operation, operation.password)
      checkPresence(user, operation)
      const older = olderProfile(user, operation, FRESH.has(operation.kind) ? { profileMs: 0 } : settings)
      if (older !== null) report('no old profile after a refresh', operation, older)
    }
    for (const token of user.tokens) checkResurrection(user, token)
    checkWinners(user)
    checkFinalPassword(user)
  }

  function checkToken (user: UserHistory, operation: Operation, token: number): void {
    if (user.issueOf(token) === undefined) return
    const beyond = beyondScope(user, operation, token)
    if (beyond !== null) report('scopes decide', operation, beyond)
    if (operation.kind === 'logout' && operation.status === 401 && operation.completedAt < user.expiresAt(token)) report('only documented statuses', operation, 'its row is there still')
    if (operation.status === 401 && !user.mayBeEnded(token, operation.completedAt)) report('no 401 for a live token', operation, 'nobody had asked to end it')
    if (!isAccept(operation)) return
    const staleMs = operation.invokedAt - user.endedAt(token)
    const boundMs = FRESH.has(operation.kind) ? 0 : settings.boundMs
    maxStalenessMs = Math.max(maxStalenessMs, staleMs)
    if (staleMs > 0) staleAccepts++
    const late = beyondLife(user, operation, token)
    if (late !== null) report('no accept after the end of its life', operation, late)
    if (staleMs > boundMs) report('no accept after a completed revocation', operation, `it was over for ${staleMs.toFixed(1)} ms, ${boundMs} are allowed`)
  }

  function checkPassword (user: UserHistory, operation: Operation, password: string): void {
    const replacedMs = operation.invokedAt - user.replacedAt(password)
    if (operation.outcome === 'ok' && replacedMs > 0) report('no token from an old password', operation, `it was replaced ${replacedMs.toFixed(1)} ms before`)
    const isWrongPassword = operation.status === (operation.kind === 'login' ? 401 : 403) && operation.isBeyondScope !== true
    if (isWrongPassword && user.mustAccept(operation)) report('no refusal of the password in force', operation, 'nobody had asked to change it or to deactivate the user')
  }

  function checkPresence (user: UserHistory, operation: Operation): void {
    const isSwitch = operation.kind === 'activate' || operation.kind === 'deactivate'
    const isFound = operation.outcome === 'ok' && (isSwitch || operation.issued !== undefined)
    if (operation.issued !== undefined && user.wasInactive(operation)) report('no token for an inactive user', operation, 'the user was deactivated before')
    if (operation.kind === 'issue' && operation.status === 404 && user.mustBeActive(operation)) report('no user is lost', operation, 'nobody had asked to deactivate or to delete the user')
    if (isFound && operation.invokedAt > user.deletedAt) report('a deleted user is gone', operation, 'the user was deleted before')
    if (isSwitch && operation.status === 404 && !user.mayBeDeleted(operation.completedAt)) report('no user is lost', operation, 'nobody had asked to delete the user')
  }

  // After an unacknowledged revocation one server may refuse what another still accepts, within the bound.
  function checkResurrection (user: UserHistory, token: number): void {
    const asked = user.operations.filter((operation) => operation.token === token)
    const refusals = asked.filter(({ kind, status, completedAt }) => ACCEPTED[kind] !== undefined && status === 401 && completedAt < user.expiresAt(token))
    const firstEnd = (some: Operation[]) => Math.min(Infinity, ...some.map(({ completedAt }) => completedAt))
    const any = firstEnd(refusals) + settings.resurrectionMs
    const fresh = firstEnd(refusals.filter(({ kind }) => FRESH.has(kind)))
    // After the storm only the final operations change anything: servers must agree, in whatever order they are queried.
    const leftAt = Math.min(Infinity, ...asked.filter(({ kind, final }) => kind === 'logout' && final === true).map(({ invokedAt }) => invokedAt))
    const atTheEnd = refusals.some(({ final, completedAt }) => final === true && completedAt < leftAt)
    for (const operation of asked.filter(isAccept)) {
      const since = operation.final === true && atTheEnd ? -Infinity : FRESH.has(operation.kind) ? Math.min(fresh, any) : any
      if (operation.invokedAt > since) report('no accept after a refusal', operation, 'the token was refused before, or on another server after the storm')
    }
  }

  function checkWinners (user: UserHistory): void {
    const won = new Set<string>()
    for (const operation of user.operations) {
      if (operation.kind !== 'change' || operation.outcome !== 'ok') continue
      if (won.has(operation.password!)) report('one change wins', operation, `another change from ${operation.password} was answered 200`)
      won.add(operation.password!)
    }
  }

  function checkFinalPassword (user: UserHistory): void {
    const logins = user.operations.filter(({ kind, final }) => kind === 'login' && final === true)
    if (logins.length === 0) return
    const inForce = new Set(logins.filter(({ outcome }) => outcome === 'ok').map(({ password }) => password))
    const isGone = user.deletedAt < Infinity || (inForce.size === 0 && user.mayBeDeleted(Infinity))
    if (inForce.size !== (isGone ? 0 : 1)) report('one password is in force', logins[0]!, `after the storm ${inForce.size} of ${logins.length} logged in`)
  }
}

function byUser (history: readonly Operation[]): Map<string, Operation[]> {
  const users = new Map<string, Operation[]>()
  for (const operation of history) {
    const operations = users.get(operation.user) ?? []
    operations.push(operation)
    users.set(operation.user, operations)
  }
  return users
}

/** A readable report of a violation, with the related operations on the token or the password. */
export function explain (history: readonly Operation[], { rule, operation, because }: Violation): string {
  const isRelated = (other: Operation) => other.user === operation.user && other !== operation && (
    ['logout-all', 'change', 'deactivate', 'activate', 'delete-user'].includes(other.kind) ||
    (operation.token !== undefined && [other.token, other.issued, other.target].includes(operation.token)) ||
    (operation.password !== undefined && [other.password, other.newPassword].includes(operation.password)))
  const around = history.filter((other) => isRelated(other) && other.invokedAt <= operation.completedAt + 1000)
    .sort((a, b) => a.invokedAt - b.invokedAt).slice(-25)
  return [`${rule}: ${because}`, `  ${describe(operation)}`, '  before:', ...around.map((other) => `  - ${describe(other)}`)].join('\n')
}
