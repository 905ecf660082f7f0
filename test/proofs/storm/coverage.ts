import type { ClockOffset } from './clock.js'
import { mayAct } from './history.js'
import type { Operation } from './history.js'

const ENDING = new Set(['logout', 'logout-all', 'change', 'delete-session', 'deactivate', 'delete-user'])
const ISSUING = new Set(['login', 'change', 'issue'])
/** After this time no operation without a definite answer is still in progress, because every statement, lock and transaction has a time limit. */
const SETTLED_MS = 30_000

/** What one user's operations imply about the tokens, the passwords and the active flag. */
export interface UserHistory {
  operations: Operation[]
  /** The operation that returned the token. */
  issueOf (token: number): Operation | undefined
  tokens: number[]
  /** When it was certain that the token is revoked everywhere; `Infinity` if it never was. */
  endedAt (token: number): number
  /** The earliest possible time of its expiry. */
  expiresAt (token: number): number
  /** The latest possible time of its expiry. */
  hasExpiredBy (token: number): number
  /** The scopes that limit it; `null` if it is not limited. */
  scopesOf (token: number): string[] | null
  /** Whether an operation that may have ended the token began before `at`, or the token had expired. */
  mayBeEnded (token: number, at: number): boolean
  /** Whether the password was valid and the user active during the whole operation. */
  mustAccept (operation: Operation): boolean
  /** Whether the user existed and was active during the whole operation. */
  mustBeActive (operation: Operation): boolean
  /** When it was certain that the password is no longer valid. */
  replacedAt (password: string): number
  /** Whether the user was inactive during the whole operation. */
  wasInactive (operation: Operation): boolean
  /** Refreshes that reached the cache. */
  refreshes: Operation[]
  /** Whether a deletion of the user began before `at`. */
  mayBeDeleted (at: number): boolean
  /** When the first deletion of the user was confirmed; `Infinity` if none was. */
  deletedAt: number
}

/** An operation with a definite answer before `at` has no effect after it. */
function isOverBefore (operation: Operation, at: number): boolean {
  return operation.outcome === 'ok' && operation.completedAt < at
}

const earliest = (instants: number[]) => Math.min(Infinity, ...instants)

export function readUser (operations: Operation[], { maxPerUser, clock }: { maxPerUser: number, clock: ClockOffset }): UserHistory {
  const acting = operations.filter(mayAct)
  const issues = new Map(operations.filter(({ issued }) => issued !== undefined).map((operation) => [operation.issued!, operation]))
  const endings = acting.filter(({ kind }) => ENDING.has(kind))
  const issuing = acting.filter(({ kind }) => ISSUING.has(kind))
  const changes = acting.filter(({ kind }) => kind === 'change')
  const deactivations = acting.filter(({ kind }) => kind === 'deactivate')
  const deletions = acting.filter(({ kind }) => kind === 'delete-user')
  const mayBeDeleted = (at: number) => deletions.some(({ invokedAt }) => invokedAt < at)
  const expiresAt = (token: number) => issues.get(token)!.expiresAtMs! - clock.mostMs
  const activations = acting.filter(({ kind }) => kind === 'activate')
  const ended = new Map([...issues.keys()].map((token) => [token, earliest(endings.map((ending) => certainEnd(ending, token)))]))

  function isAbout (ending: Operation, token: number): boolean {
    if (ending.kind === 'logout') return ending.token === token
    if (ending.kind === 'delete-session') return ending.target === token
    return ending.issued !== token
  }

  function mayEnd (ending: Operation, token: number): boolean {
    return isAbout(ending, token) && !isOverBefore(ending, issues.get(token)!.invokedAt)
  }

  function certainEnd (ending: Operation, token: number): number {
    const issue = issues.get(token)!
    if (ending.outcome !== 'ok' || !isAbout(ending, token) || !covers(ending, issue)) return Infinity
    return Math.max(ending.completedAt, issue.completedAt)
  }

  function covers (ending: Operation, issue: Operation): boolean {
    // A login concurrent with the deletion of its user either came first and was ended, or did not find the user.
    if (['logout', 'delete-session', 'delete-user'].includes(ending.kind)) return true
    if (ending.kind === 'logout-all') return issue.completedAt < firstTry(ending)
    if (issue.completedAt < ending.invokedAt) return true
    // A concurrent login that succeeded with the old password, or while the user was active, came first and was ended.
    if (ending.kind === 'change') return (issue.newPassword ?? issue.password) === ending.password
    return issue.invokedAt < ending.completedAt && !activations.some((activation) => activation.invokedAt < issue.completedAt && !isOverBefore(activation, ending.invokedAt))
  }

  // With a token that an earlier logout-all revoked, a logout-all only completes that one, and ends no newer token.
  function firstTry (ending: Operation): number {
    const tries = endings.filter((other) => other.kind === 'logout-all' && other.invokedAt < ending.completedAt && mayEnd(other, ending.token!))
    return earliest([ending, ...tries].map(({ invokedAt }) => invokedAt))
  }

  // Whether there are enough newer tokens, or tokens that may be newer, to have displaced it.
  function mayBeDisplaced (token: number, at: number): boolean {
    const issue = issues.get(token)!
    const newer = issuing.filter((other) => other !== issue && other.invokedAt < at && !isOverBefore(other, issue.invokedAt))
    return newer.length >= maxPerUser
  }

  // A change of password returns a token with the same scopes.
  function scopesOf (token: number): string[] | null {
    const { kind, scopes = null, token: former } = issues.get(token)!
    return kind === 'change' && issues.has(former!) ? scopesOf(former!) : scopes
  }

  function mustBeActive ({ invokedAt, completedAt }: Operation): boolean {
    return deactivations.every((deactivation) => deactivation.invokedAt > completedAt || isUndone(deactivation, invokedAt)) && !mayBeDeleted(completedAt)
  }

  function isUndone (deactivation: Operation, at: number): boolean {
    const settledAt = deactivation.completedAt + (deactivation.outcome === 'ok' ? 0 : SETTLED_MS)
    return activations.some((activation) => activation.invokedAt > settledAt && isOverBefore(activation, at))
  }

  // A user's first password is valid from the beginning: no change has set it.
  function inForceSince (password: string): number {
    if (!operations.some(({ newPassword }) => newPassword === password)) return -Infinity
    return earliest(acting.filter((operation) => operation.outcome === 'ok' && (operation.password === password || operation.newPassword === password)).map(({ completedAt }) => completedAt))
  }

  return {
    operations,
    issueOf: (token) => issues.get(token),
    tokens: [...issues.keys()],
    endedAt: (token) => ended.get(token) ?? Infinity,
    expiresAt,
    mayBeEnded: (token, at) => endings.some((ending) => ending.invokedAt < at && mayEnd(ending, token)) || mayBeDisplaced(token, at) || at > expiresAt(token),
    // SQL stores the expiry in microseconds, and the answer has it in milliseconds, rounded down.
    hasExpiredBy: (token) => issues.get(token)!.expiresAtMs! + 1 - clock.leastMs,
    scopesOf,
    mustAccept: (operation) => inForceSince(operation.password!) < operation.invokedAt &&
      !changes.some((change) => change.password === operation.password && change.invokedAt < operation.completedAt) &&
      mustBeActive(operation),
    mustBeActive,
    replacedAt (password) {
      const away = changes.filter((change) => change.password === password)
      const proofs = acting.filter((operation) => operation.outcome === 'ok' && away.some((change) => change === operation || change.newPassword === operation.password))
      return earliest(proofs.map(({ completedAt }) => completedAt))
    },
    wasInactive: ({ invokedAt, completedAt }) => deactivations.some((deactivation) => isOverBefore(deactivation, invokedAt) &&
      !activations.some((activation) => activation.invokedAt < completedAt && !isOverBefore(activation, deactivation.invokedAt))),
    refreshes: operations.filter(({ isRefreshed }) => isRefreshed === true),
    mayBeDeleted,
    deletedAt: earliest(deletions.filter(({ outcome }) => outcome === 'ok').map(({ completedAt }) => completedAt))
  }
}
