import t from 'tap'
import { check, explain } from './checker.js'
import type { CheckerSettings } from './checker.js'
import { describe, outcomeOf } from './history.js'
import type { Kind, Operation } from './history.js'

/** The clock of PostgreSQL is an hour ahead of the history's, with an uncertainty of 10 ms. */
const HOUR = 3_600_000
const STRICT: CheckerSettings = {
  boundMs: 0, resurrectionMs: 1000, maxPerUser: 3, clock: { leastMs: HOUR - 5, mostMs: HOUR + 5 }, profileMs: 0
}
const LIFE_MS = 10_000
const P0 = 'first'
const P1 = 'second'

/** An operation of user u from `invokedAt` to `completedAt`. */
function op (kind: Kind, [invokedAt, completedAt]: [number, number], status: number | null, more: Partial<Operation> = {}): Operation {
  const life = more.issued !== undefined && { expiresAtMs: HOUR + invokedAt + LIFE_MS }
  return { kind, user: 'u', process: 0, invokedAt, completedAt, status, outcome: outcomeOf(status), ...life, ...more }
}

const login = (issued: number, at: [number, number], more: Partial<Operation> = {}) => op('login', at, 200, { issued, password: P0, seen: 'u', ...more })
const read = (token: number, at: [number, number], status: number | null, more: Partial<Operation> = {}) => op('read', at, status, { token, ...(status === 200 && { seen: 'u' }), ...more })
const change = (at: [number, number], status: number | null, more: Partial<Operation> = {}) => op('change', at, status, { token: 0, password: P0, newPassword: P1, ...(status === 200 && { issued: 9, seen: 'u' }), ...more })
const issue = (issued: number, at: [number, number], more: Partial<Operation> = {}) => op('issue', at, 200, { issued, seen: 'u', ...more })
const refresh = (version: number, at: [number, number], isRefreshed = true) => op('refresh', at, 200, { version, isRefreshed })
const beyond = { isBeyondScope: true } as const
const first = login(0, [0, 10])

/** The rules that a history breaks. */
function broken (history: Operation[], settings: Partial<CheckerSettings> = {}): string[] {
  return [...new Set(check(history, { ...STRICT, ...settings }).violations.map(({ rule }) => rule))]
}

const ACCEPTED_LATE = 'no accept after a completed revocation'
const SPURIOUS = 'no 401 for a live token'
const OLD_PASSWORD = 'no token from an old password'
const INACTIVE = 'no token for an inactive user'
const REFUSED_PASSWORD = 'no refusal of the password in force'
const RESURRECTED = 'no accept after a refusal'
const WINNERS = 'one change wins'
const RECOVERS = 'everything recovers'
const ONE_PASSWORD = 'one password is in force'
const LIFE = 'no accept after the end of its life'
const DELETED = 'a deleted user is gone'
const LOST = 'no user is lost'
const SCOPES = 'scopes decide'
const PROFILE = 'no old profile after a refresh'

const GOOD: Record<string, Operation[]> = {
  'a login, a read and a logout': [first, read(0, [11, 12], 200), op('logout', [20, 30], 204, { token: 0 }), read(0, [31, 32], 401)],
  'an accept that began before the logout was answered': [first, op('logout', [20, 30], 204, { token: 0 }), read(0, [29, 40], 200)],
  'an accept after a logout that is pending': [first, op('logout', [20, 30], 503, { token: 0 }), read(0, [31, 40], 200)],
  'a refusal after a logout without an answer': [first, op('logout', [20, 30], null, { token: 0 }), read(0, [31, 40], 401)],
  'a refusal while the logout is in progress': [first, op('logout', [20, 50], 204, { token: 0 }), read(0, [25, 30], 401)],
  'a refusal by a logout-all that had no answer before the login': [op('logout-all', [0, 5], 503, { token: 8 }), login(0, [6, 10]), read(0, [31, 40], 401)],
  'a token that may have been displaced': [first, login(1, [11, 12]), login(2, [13, 14]), op('login', [15, 16], null, { password: P0 }), read(0, [20, 21], 401)],
  'a login beside a logout-all': [first, op('logout-all', [20, 30], 204, { token: 0 }), login(1, [25, 35]), read(1, [40, 41], 200)],
  'a retried logout-all, which ends nothing newer': [first, op('logout-all', [20, 30], 503, { token: 0 }), login(1, [31, 32]), op('logout-all', [33, 34], 204, { token: 0 }), read(1, [40, 41], 200)],
  'a login with the old password beside its change, refused later': [first, change([20, 30], 200), login(1, [25, 35]), read(1, [40, 41], 401)],
  'the changed password': [first, change([20, 30], 200), login(1, [31, 35], { password: P1 }), read(1, [40, 41], 200), read(9, [42, 43], 200), op('login', [44, 45], 401, { password: P0 })],
  'either password after a change without an answer': [first, change([20, 30], null), login(1, [31, 35])],
  'a deactivation and an activation': [first, op('deactivate', [20, 30], 204), op('login', [31, 32], 401, { password: P0 }), op('activate', [40, 50], 204), login(1, [51, 52]), read(1, [53, 54], 200)],
  'a login beside an activation': [first, op('deactivate', [20, 30], 204), op('activate', [40, 50], 204), login(1, [45, 52])],
  503: [first, read(0, [20, 21], 503), op('login', [20, 21], 503, { password: P0 })],
  'a deletion of a session that is over': [first, login(1, [11, 12]), op('delete-session', [20, 21], 204, { token: 0, target: 1 }), op('delete-session', [22, 23], 404, { token: 0, target: 1 }), read(1, [24, 25], 401)],
  'an accept soon after a refusal, by a server that is not notified yet': [first, op('logout', [20, 30], 503, { token: 0 }), read(0, [31, 40], 401), read(0, [900, 901], 200)],
  'a deletion': [first, op('delete-user', [20, 30], 204), read(0, [31, 32], 401), op('login', [33, 34], 401, { password: P0 }), op('activate', [35, 36], 404), op('delete-user', [37, 38], 204)],
  'a login beside a deletion': [op('delete-user', [20, 30], 204), login(0, [25, 35]), read(0, [40, 41], 401)],
  'a deletion without an answer': [first, op('delete-user', [20, 30], null), read(0, [31, 32], 200), op('login', [33, 34], 401, { password: P0 }), op('login', [40, 41], 401, { password: P0, final: true })],
  '... that did not happen': [first, op('delete-user', [20, 30], 503), login(1, [40, 41], { final: true })],
  'the expiry of a token': [first, read(0, [9999, 10_000], 200), read(0, [9999, 10_002], 401), read(0, [10_003, 10_004], 401, { final: true }), read(0, [9990, 9991], 200, { final: true })],
  'an accept that may have begun before the end': [first, read(0, [10_006, 10_007], 200)],
  'a refusal that may have come after it': [first, read(0, [9990, 9996], 401)],
  'a logout after it': [first, op('logout', [10_001, 10_002], 401, { token: 0 })],
  'a short life': [issue(0, [0, 10], { ttlMs: 1000, expiresAtMs: HOUR + 1000 }), read(0, [900, 910], 200), read(0, [1010, 1011], 401)],
  'an issue for an inactive user': [op('deactivate', [20, 30], 204), op('issue', [31, 32], 404), op('activate', [40, 50], 503), op('issue', [51, 52], 404)],
  'an issue beside a change of password': [first, change([20, 30], 200), issue(1, [25, 26]), read(1, [40, 41], 200)],
  'an issue beside a deactivation': [first, op('deactivate', [20, 30], 204), issue(1, [25, 26]), read(1, [40, 41], 401)],
  'a token of an issue that may have been displaced': [first, issue(1, [11, 12]), issue(2, [13, 14]), issue(3, [15, 16]), read(0, [20, 21], 401)],
  'scopes that a token has, and lacks': [issue(0, [0, 10], { scopes: ['orders'] }), op('orders', [11, 12], 200, { token: 0 }), read(0, [13, 14], 200), change([15, 16], 403, beyond), op('logout-all', [17, 18], 403, { token: 0, ...beyond })],
  'a token without scopes, which is not limited': [first, op('orders', [11, 12], 200, { token: 0 })],
  'a wrong password, with the scope to change it': [issue(0, [0, 10], { scopes: ['auth'] }), change([11, 12], 200), change([13, 14], 403, { token: 9 })],
  'scopes that a change of password keeps': [issue(0, [0, 10], { scopes: ['auth'] }), change([11, 12], 200), op('orders', [13, 14], 403, { token: 9, ...beyond })],
  'a logout-all that is retried, with any scopes': [first, issue(1, [0, 10], { scopes: [] }), op('logout-all', [20, 30], 503, { token: 0 }), op('logout-all', [31, 32], 204, { token: 1 })],
  'profiles that match their refreshes': [first, refresh(1, [20, 30]), read(0, [25, 26], 200, { version: 0 }), read(0, [31, 32], 200, { version: 1 }), read(0, [33, 34], 200, { version: 2 })],
  'an old profile if the refresh did not reach the cache': [first, refresh(1, [20, 30], false), read(0, [31, 32], 200, { version: 0 })],
  'a forged token': [op('forged', [0, 1], 401)],
  'after the storm': [first, read(0, [20, 21], 200, { final: true }), login(1, [22, 23], { final: true }), op('login', [24, 25], 401, { password: P1, final: true }), change([10, 11], 503)]
}

const BAD: [what: string, rule: string, history: Operation[]][] = [
  ['an accept after a logout', ACCEPTED_LATE, [first, op('logout', [20, 30], 204, { token: 0 }), read(0, [31, 32], 200)]],
  ['... by a route that queries PostgreSQL', ACCEPTED_LATE, [first, op('logout', [20, 30], 204, { token: 0 }), op('fresh', [31, 32], 200, { token: 0 })]],
  ['... of a change that found the password wrong', ACCEPTED_LATE, [first, op('logout', [20, 30], 204, { token: 0 }), change([31, 32], 403)]],
  ['... of a deletion', ACCEPTED_LATE, [first, login(1, [11, 12]), op('logout', [20, 30], 204, { token: 0 }), op('delete-session', [31, 32], 404, { token: 0, target: 1 })]],
  ['an accept after a logout-all', ACCEPTED_LATE, [first, login(1, [11, 12]), op('logout-all', [20, 30], 204, { token: 1 }), read(0, [31, 32], 200)]],
  ['an accept after the deletion of a session', ACCEPTED_LATE, [first, login(1, [11, 12]), op('delete-session', [20, 30], 204, { token: 0, target: 1 }), read(1, [31, 32], 200)]],
  ['an accept after a change', ACCEPTED_LATE, [first, change([20, 30], 200), read(0, [31, 32], 200)]],
  ['an accept after a second change, of what a pending one ended', ACCEPTED_LATE, [first, change([20, 30], 503), login(1, [31, 32], { password: P1 }), change([33, 34], 200, { token: 1, password: P1, newPassword: 'third' }), read(0, [35, 36], 200)]],
  ['an accept of a login with the old password beside its change', ACCEPTED_LATE, [first, change([20, 30], 200), login(1, [25, 35]), read(1, [40, 41], 200)]],
  ['an accept after a deactivation', ACCEPTED_LATE, [first, op('deactivate', [20, 30], 204), read(0, [31, 32], 200)]],
  ['... of a login beside it', ACCEPTED_LATE, [op('deactivate', [20, 30], 204), login(0, [25, 35]), read(0, [40, 41], 200)]],
  ['... also once the user is active again', ACCEPTED_LATE, [first, op('deactivate', [20, 30], 204), op('activate', [31, 32], 204), read(0, [33, 34], 200)]],
  ['an accept of a token that was never issued', 'no accept of a token never issued', [op('forged', [0, 1], 200)]],
  ['another user\'s identity', 'a token speaks for its user', [first, read(0, [20, 21], 200, { seen: 'v' })]],
  ['a login as another user', 'a token speaks for its user', [login(0, [0, 1], { seen: 'v' })]],
  ['a refusal of a live token', SPURIOUS, [first, read(0, [20, 21], 401)]],
  ['... after a logout of another', SPURIOUS, [first, login(1, [11, 12]), op('logout', [20, 30], 204, { token: 1 }), read(0, [31, 32], 401)]],
  ['... after a logout-all that was over before the login', SPURIOUS, [first, op('logout-all', [20, 30], 204, { token: 0 }), login(1, [31, 32]), read(1, [33, 34], 401)]],
  ['... after a change that was refused', SPURIOUS, [first, change([20, 30], 403, { password: 'wrong' }), read(0, [31, 32], 401)]],
  ['... that the change itself issued', SPURIOUS, [first, change([20, 30], 200), read(9, [31, 32], 401)]],
  ['... with fewer logins than a user may have', SPURIOUS, [first, login(1, [11, 12]), login(2, [13, 14]), read(0, [20, 21], 401)]],
  ['a 500', 'no 5xx but 503', [first, read(0, [20, 21], 500)]],
  ['a logout that is refused', 'only documented statuses', [first, op('logout', [20, 21], 401, { token: 0 })]],
  ['a 400', 'only documented statuses', [first, read(0, [20, 21], 400)]],
  ['a login with the old password after the change', OLD_PASSWORD, [first, change([20, 30], 200), login(1, [31, 32])]],
  ['... that had no answer, and has worked', OLD_PASSWORD, [first, change([20, 30], null), login(1, [31, 32], { password: P1 }), login(2, [33, 34])]],
  ['a change from the old password after the change', OLD_PASSWORD, [first, change([20, 30], 200), change([31, 32], 200, { newPassword: 'third', issued: 10 })]],
  ['two changes from one password', WINNERS, [first, change([20, 30], 200), change([21, 31], 200, { newPassword: 'third', issued: 10 })]],
  ['a login of an inactive user', INACTIVE, [op('deactivate', [20, 30], 204), login(0, [31, 32])]],
  ['... whose activation was refused', INACTIVE, [op('deactivate', [20, 30], 204), op('activate', [31, 32], 404), login(0, [33, 34])]],
  ['a refusal of the first password', REFUSED_PASSWORD, [op('login', [0, 1], 401, { password: P0 })]],
  ['... of a changed one', REFUSED_PASSWORD, [first, change([20, 30], 200), op('login', [31, 32], 401, { password: P1 })]],
  ['... by a change', REFUSED_PASSWORD, [first, change([20, 30], 403)]],
  ['... after an activation', REFUSED_PASSWORD, [op('deactivate', [0, 1], 204), op('activate', [2, 3], 204), op('login', [4, 5], 401, { password: P0 })]],
  ['an accept long after a refusal', RESURRECTED, [first, op('logout', [20, 30], 503, { token: 0 }), read(0, [31, 40], 401), read(0, [1041, 1042], 200)]],
  ['an accept of PostgreSQL after it refused', RESURRECTED, [first, op('logout', [20, 30], 503, { token: 0 }), op('fresh', [31, 40], 401, { token: 0 }), op('fresh', [41, 42], 200, { token: 0 })]],
  ['servers that differ after the storm', RESURRECTED, [first, op('logout', [20, 30], 503, { token: 0 }), read(0, [40, 41], 200, { final: true }), read(0, [42, 43], 401, { final: true, process: 1 })]],
  ['an accept after the deletion of the user', ACCEPTED_LATE, [first, op('delete-user', [20, 30], 204), read(0, [31, 32], 200)]],
  ['... of a login beside it', ACCEPTED_LATE, [op('delete-user', [20, 30], 204), login(0, [25, 35]), read(0, [40, 41], 200)]],
  ['a login of a deleted user', DELETED, [op('delete-user', [20, 30], 204), login(0, [31, 32])]],
  ['... whose deletion was retried', DELETED, [op('delete-user', [20, 30], 503), op('delete-user', [31, 32], 204), login(0, [33, 34])]],
  ['an activation of a deleted user', DELETED, [op('delete-user', [20, 30], 204), op('activate', [31, 32], 204)]],
  ['a login of a deleted user after the storm', ONE_PASSWORD, [op('delete-user', [20, 30], 204), login(0, [31, 32], { final: true })]],
  ['a user who is missing', LOST, [op('activate', [20, 30], 404)]],
  ['a refusal of the password before the deletion', REFUSED_PASSWORD, [op('login', [0, 1], 401, { password: P0 }), op('delete-user', [20, 30], 204)]],
  ['an accept after the life of the token', LIFE, [first, read(0, [10_007, 10_008], 200)]],
  ['... that was short', LIFE, [issue(0, [0, 10], { expiresAtMs: HOUR + 1000 }), read(0, [1007, 1008], 200)]],
  ['... by a route that queries PostgreSQL', LIFE, [first, op('fresh', [10_007, 10_008], 200, { token: 0 })]],
  ['... for other scopes', LIFE, [issue(0, [0, 10], { scopes: [] }), op('orders', [10_007, 10_008], 403, { token: 0, ...beyond })]],
  ['a refusal before it', SPURIOUS, [first, read(0, [9990, 9994], 401)]],
  ['... of its logout', 'only documented statuses', [first, op('logout', [20, 30], 204, { token: 0 }), op('logout', [40, 41], 401, { token: 0 })]],
  ['an accept of an issue beside a deactivation', ACCEPTED_LATE, [first, op('deactivate', [20, 30], 204), issue(1, [25, 26]), read(1, [40, 41], 200)]],
  ['an issue for an inactive user', INACTIVE, [op('deactivate', [20, 30], 204), issue(0, [31, 32])]],
  ['an issue for a deleted user', DELETED, [op('delete-user', [20, 30], 204), issue(0, [31, 32])]],
  ['an issue for a missing user', LOST, [op('issue', [20, 30], 404)]],
  ['an accept beyond the scopes', SCOPES, [issue(0, [0, 10], { scopes: ['auth'] }), op('orders', [11, 12], 200, { token: 0 })]],
  ['... of none', SCOPES, [issue(0, [0, 10], { scopes: [] }), op('delete-session', [11, 12], 404, { token: 0, target: 1 })]],
  ['... of a change of password', SCOPES, [issue(0, [0, 10], { scopes: ['orders'] }), change([11, 12], 200)]],
  ['... that verified the password', SCOPES, [issue(0, [0, 10], { scopes: ['orders'] }), change([11, 12], 403, { password: 'wrong' })]],
  ['... of the token that it issued', SCOPES, [issue(0, [0, 10], { scopes: ['auth'] }), change([11, 12], 200), op('orders', [13, 14], 200, { token: 9 })]],
  ['... of a logout-all', SCOPES, [issue(0, [0, 10], { scopes: ['orders'] }), op('logout-all', [11, 12], 204, { token: 0 })]],
  ['a refusal within the scopes', SCOPES, [issue(0, [0, 10], { scopes: ['orders'] }), op('orders', [11, 12], 403, { token: 0, ...beyond })]],
  ['... of a token without', SCOPES, [first, op('orders', [11, 12], 403, { token: 0, ...beyond })]],
  ['... of a route that needs none', SCOPES, [issue(0, [0, 10], { scopes: [] }), read(0, [11, 12], 403, beyond)]],
  ['an old profile', PROFILE, [first, refresh(1, [20, 30]), read(0, [31, 32], 200, { version: 0 })]],
  ['... after two refreshes, of which the last did not reach the cache', PROFILE, [first, refresh(1, [20, 30]), refresh(2, [31, 32], false), read(0, [33, 34], 200, { version: 0 })]],
  ['... on another server', PROFILE, [first, refresh(1, [20, 30]), read(0, [31, 32], 200, { version: 0, process: 1 })]],
  ['an accept of what PostgreSQL refuses after the storm', RESURRECTED, [first, op('logout', [20, 30], 503, { token: 0 }), op('fresh', [40, 41], 401, { token: 0, final: true }), read(0, [42, 43], 200, { final: true }), op('logout', [44, 45], 204, { token: 0, final: true })]],
  ['503 after the storm', RECOVERS, [first, read(0, [20, 21], 503, { final: true })]],
  ['no answer after the storm', RECOVERS, [first, read(0, [20, 21], null, { final: true })]],
  ['a lost password', ONE_PASSWORD, [change([0, 1], 503), op('login', [20, 21], 401, { password: P0, final: true }), op('login', [20, 21], 401, { password: P1, final: true })]],
  ['two passwords', ONE_PASSWORD, [change([0, 1], 503), login(1, [20, 21], { final: true }), login(2, [20, 21], { password: P1, final: true })]]
]

t.test('the checker accepts correct histories', async (t) => {
  for (const [what, history] of Object.entries(GOOD)) t.same(broken(history), [], what)
})

t.test('the checker finds every kind of violation', async (t) => {
  for (const [what, rule, history] of BAD) t.ok(broken(history).includes(rule), `${what}: ${broken(history).join(', ')}`)
})

t.test('the checker keeps users apart', async (t) => {
  const other = { ...op('logout-all', [20, 30], 204, { token: 5 }), user: 'v' }
  t.same(broken([first, other, read(0, [31, 32], 401)]), [SPURIOUS])
})

t.test('a bound allows staleness within it, and the staleness is measured', async (t) => {
  const history = [first, op('logout', [20, 30], 204, { token: 0 }), read(0, [130, 140], 200)]
  t.match(check([...history, read(0, [28, 35], 200)], { ...STRICT, boundMs: 100 }), { violations: [], maxStalenessMs: 100, staleAccepts: 1 })
  t.same(broken(history, { boundMs: 99 }), [ACCEPTED_LATE])
  t.same(broken([...history, op('fresh', [131, 132], 200, { token: 0 })], { boundMs: 1000 }), [ACCEPTED_LATE], 'an operation that queries PostgreSQL has no bound')
})

t.test('a bound allows an old profile within it', async (t) => {
  const reading = (kind: Kind) => [first, refresh(1, [20, 30]), op(kind, [130, 140], 200, { token: 0, version: 0 })]
  t.same(broken(reading('read'), { profileMs: 100 }), [])
  t.same(broken(reading('read'), { profileMs: 99 }), [PROFILE])
  t.same(broken(reading('fresh'), { profileMs: 1000 }), [PROFILE], 'an operation that queries PostgreSQL has no bound')
})

t.test('a violation is explained by the operations before it', async (t) => {
  const history = [first, op('logout', [20, 30], 204, { token: 0 }), login(1, [1, 2]), read(0, [31, 32], 200)]
  const text = explain(history, check(history, STRICT).violations[0]!)
  t.match(text, ACCEPTED_LATE)
  t.match(text, describe(history[1]!))
  t.notMatch(text, describe(history[2]!), 'and not by those of other tokens')
})
