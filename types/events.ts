import type { RevokeReason } from './ports.js'
import type { UserId } from './user.js'

/** What happened, told after the fact. No field ever holds a token, a password or a captcha's answer. */
export interface AuthEvents {
  login: { userId: UserId, sessionId: string, ip: string | null, requestId: string | null }
  loginFailed: { reason: 'unknown_user' | 'wrong_password' | 'inactive' | 'captcha' | 'rate_limited', userId: UserId | null, ip: string | null, requestId: string | null }
  logout: { userId: UserId | null, sessionId: string | null, requestId: string | null }
  passwordChanged: { userId: UserId, sessionId: string | null, requestId: string | null }
  revoked: { userId: UserId | null, reason: RevokeReason, count: number }
  cacheError: { operation: string, error: Error }
}

export type AuthEventName = keyof AuthEvents

/** Called detached: a hook that throws, rejects or hangs changes no answer. */
export type AuthHooks = {
  [Name in AuthEventName as `on${Capitalize<Name>}`]?: (event: AuthEvents[Name]) => unknown
}
