import type { UserId } from './user.js'

/** Why a token ended. */
export type RevokeReason =
  | 'logout' | 'logout_all' | 'session_deleted' | 'password_changed' | 'deactivated'
  | 'user_deleted' | 'revoked' | 'too_many'

/** Why a login was refused. `no_password`: the account has none; `unknown_hash`: its stored hash is damaged or foreign. */
export type LoginFailure =
  | 'unknown_user' | 'wrong_password' | 'no_password' | 'unknown_hash' | 'inactive'
  | 'captcha_required' | 'captcha_refused' | 'captcha_unavailable'
  | 'rate_limited' | 'account_limited' | 'unavailable'

/** Why a change of password was refused; `password_*` is the rule that the new one breaks. */
export type PasswordChangeFailure =
  | 'wrong_password' | 'account_limited' | 'unavailable'
  | 'password_too_short' | 'password_too_long' | 'password_malformed' | 'password_has_username' | 'password_has_context_word'
  | 'password_unchanged' | 'password_common' | 'password_breached' | 'password_refused'

/** What happened, told after the fact. No field ever holds a token, a password or a captcha's answer. */
export interface AuthEvents {
  login: { userId: UserId, sessionId: string, ip: string | null, requestId: string | null }
  /**
   * `name` is a pseudonym of the username that was typed (people type passwords there): the same name has the same one,
   * on every server. `detail` is what a captcha provider said.
   */
  loginFailed: { reason: LoginFailure, detail: string | null, userId: UserId | null, name: string | null, ip: string | null, requestId: string | null }
  logout: { userId: UserId | null, sessionId: string | null, ip: string | null, requestId: string | null }
  passwordChanged: { userId: UserId, sessionId: string | null, ip: string | null, requestId: string | null }
  passwordChangeFailed: { reason: PasswordChangeFailure, userId: UserId, sessionId: string, ip: string | null, requestId: string | null }
  /** `sessionId` where one session was ended by its id or its token; `requestId` where a request ended them. */
  revoked: { userId: UserId | null, reason: RevokeReason, count: number, sessionId: string | null, requestId: string | null }
  /** A request with a token that is not good. */
  tokenRefused: { reason: 'malformed' | 'not_live' | 'insufficient_scope', userId: UserId | null, sessionId: string | null, ip: string | null, requestId: string | null }
  cacheError: { operation: string, error: Error }
}

export type AuthEventName = keyof AuthEvents

/** Called detached: a hook that throws, rejects or hangs changes no answer. */
export type AuthHooks = {
  [Name in AuthEventName as `on${Capitalize<Name>}`]?: (event: AuthEvents[Name]) => unknown
}
