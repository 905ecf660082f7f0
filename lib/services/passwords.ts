import { INVALID_TOKEN, PASSWORD_CHANGE_PENDING, USER_NOT_FOUND, WRONG_PASSWORD } from '../errors.js'
import type { PasswordChangeFailure } from '../../types/events.js'
import type { Credentials, IssuedToken, RevocationWriter, SessionWriter, UserStore } from '../../types/ports.js'
import type { TokenGrant } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import type { PasswordChecker } from '../passwords/checker.js'
import type { PasswordPolicy } from '../passwords/policy.js'
import type { AccountGuard } from './account-guard.js'
import type { Announce } from './announce.js'
import type { Emit } from './events.js'
import { toGrant } from './issue.js'
import type { Origin, TokenMinter } from './issue.js'

export interface ChangePasswordInput {
  userId: UserId
  sessionId: string
  currentPassword: string
  newPassword: string
  origin: Origin
}

export interface PasswordService {
  /**
   * Ends every session of the user, and begins one. A wrong current password counts like a failed login.
   * @throws `FST_TOKEN_AUTH_WRONG_PASSWORD`, `FST_TOKEN_AUTH_RATE_LIMITED`, `FST_TOKEN_AUTH_PASSWORD_*`
   */
  change (input: ChangePasswordInput): Promise<TokenGrant>
  /** Sets a password without the current one, and ends every session. */
  set (userId: UserId, password: string): Promise<void>
}

export interface PasswordSettings {
  users: UserStore
  sessions: SessionWriter
  revocations: RevocationWriter
  checker: PasswordChecker
  guard: AccountGuard
  policy: PasswordPolicy
  minter: TokenMinter
  announce: Announce
  emit: Emit
}

const pending = () => new PASSWORD_CHANGE_PENDING()

export function createPasswordService (settings: PasswordSettings): PasswordService {
  const { users, sessions, revocations, checker, guard, policy, minter, announce, emit } = settings

  // The hash of the current password, once that is shown to be known.
  async function verifyCurrent ({ userId, currentPassword, origin: { ip } }: ChangePasswordInput): Promise<Credentials & { passwordHash: string }> {
    const user = await users.findById(userId)
    if (user === null) throw new INVALID_TOKEN()
    const verified = await guard.run({ username: user.username, ip }, async () => {
      const verdict = await checker.verify(currentPassword, user.passwordHash)
      return verdict === 'right' ? user : null
    })
    if (verified === null) throw new WRONG_PASSWORD()
    return verified as Credentials & { passwordHash: string }
  }

  async function replace (input: ChangePasswordInput, token: ReturnType<TokenMinter['mint']>, triesLeft = 1): Promise<IssuedToken> {
    const { userId, sessionId, currentPassword, newPassword } = input
    const { username, passwordHash } = await verifyCurrent(input)
    await policy.check(newPassword, { username, current: currentPassword })
    const change = { userId, sessionId, verifiedHash: passwordHash, newHash: await checker.hash(newPassword), token: token.request }
    const issued = await sessions.changePassword(change)
    if (issued !== null) return issued
    // The hash was upgraded, or the password changed, since it was read.
    if (triesLeft === 0) throw new WRONG_PASSWORD()
    return await replace(input, token, triesLeft - 1)
  }

  return {
    async change (input) {
      const { userId, sessionId, origin: { ip, requestId } } = input
      const minted = minter.mint(input.origin)
      const issued = await replace(input, minted).catch((error) => {
        emit('passwordChangeFailed', { reason: reasonOf(error), userId, sessionId, ip, requestId })
        throw error
      })
      emit('passwordChanged', { userId, sessionId, ip, requestId })
      await announce.displaced(issued, 'password_changed', { requestId, pending })
      return toGrant(minted.token, issued)
    },
    async set (userId, password) {
      const user = await users.findById(userId)
      if (user === null) throw new USER_NOT_FOUND()
      await policy.check(password, { username: user.username })
      const revoked = await revocations.setPassword(userId, await checker.hash(password))
      if (!revoked.found) throw new USER_NOT_FOUND()
      emit('passwordChanged', { userId, sessionId: null, ip: null, requestId: null })
      await announce.revoked({ userId, reason: 'password_changed', count: revoked.ended, digests: revoked.digests }, { pending })
    }
  }
}

function reasonOf ({ code = '' }: { code?: string }): PasswordChangeFailure {
  if (code === 'FST_TOKEN_AUTH_RATE_LIMITED') return 'account_limited'
  const rule = code.replace('FST_TOKEN_AUTH_', '').toLowerCase()
  return rule === 'wrong_password' || rule.startsWith('password_') ? rule as PasswordChangeFailure : 'unavailable'
}
