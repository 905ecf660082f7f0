import type { UserId } from './user.js'

/** Why a token was revoked. */
export type RevokeReason =
  | 'logout' | 'logout_all' | 'session_deleted' | 'password_changed' | 'deactivated'
  | 'user_deleted' | 'revoked' | 'too_many'

/** Why a login was refused. `no_password`: the account has none; `unknown_hash`: no verifier understands the stored hash. */
export type LoginFailure =
  | 'unknown_user' | 'wrong_password' | 'no_password' | 'unknown_hash' | 'inactive'
  | 'captcha_required' | 'captcha_refused' | 'captcha_unavailable'
  | 'rate_limited' | 'account_limited' | 'unavailable'

/** Why a password change was refused; `password_*` is the rule that the new password breaks. */
export type PasswordChangeFailure =
  | 'wrong_password' | 'account_limited' | 'unavailable'
  | 'password_too_short' | 'password_too_long' | 'password_malformed' | 'password_has_username' | 'password_has_context_word'
  | 'password_unchanged' | 'password_common' | 'password_breached' | 'password_refused'

/** Events, emitted after the fact. No field ever contains a token, a password or a captcha answer. */
export interface AuthEvents {
  login: { userId: UserId, sessionId: string, ip: string | null, requestId: string | null }
  /**
   * `name` is a pseudonym of the typed username (people type passwords there): a name has the same pseudonym
   * on every server. `detail` is the reason given by a captcha provider.
   */
  loginFailed: { reason: LoginFailure, detail: string | null, userId: UserId | null, name: string | null, ip: string | null, requestId: string | null }
  logout: { userId: UserId | null, sessionId: string | null, ip: string | null, requestId: string | null }
  passwordChanged: { userId: UserId, sessionId: string | null, ip: string | null, requestId: string | null }
  passwordChangeFailed: { reason: PasswordChangeFailure, userId: UserId, sessionId: string, ip: string | null, requestId: string | null }
  /** `sessionId` is set if one session was ended by its id or its token; `requestId` if a request ended the sessions. */
  revoked: { userId: UserId | null, reason: RevokeReason, count: number, sessionId: string | null, requestId: string | null }
  /** A request with a token that was refused. */
  tokenRefused: { reason: 'malformed' | 'not_live' | 'insufficient_scope', userId: UserId | null, sessionId: string | null, ip: string | null, requestId: string | null }
  cacheError: { operation: string, error: Error }
}

export type AuthEventName = keyof AuthEvents

/** Called detached from the request: a hook that throws, rejects or hangs changes no answer. */
export type AuthHooks = {
  [Name in AuthEventName as `on${Capitalize<Name>}`]?: ((event: AuthEvents[Name]) => unknown) | null
}
