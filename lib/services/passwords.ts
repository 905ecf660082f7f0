import { INVALID_TOKEN, PASSWORD_CHANGE_PENDING, USER_NOT_FOUND, WRONG_PASSWORD } from '../errors.js'
import type { PasswordChangeFailure } from '../../types/events.js'
import type { Credentials, IssuedToken, RevocationStore, SessionStore, UserStore } from '../ports.js'
import type { TokenGrant } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import type { PasswordChecker } from '../passwords/checker.js'
import type { PasswordPolicy } from '../passwords/policy.js'
import type { AccountGuard } from './account-limit.js'
import type { Propagate } from './revocation.js'
import type { Emit } from './events.js'
import { toGrant } from './tokens.js'
import type { Origin, TokenFactory } from './tokens.js'

export interface ChangePasswordInput {
  userId: UserId
  sessionId: string
  currentPassword: string
  newPassword: string
  origin: Origin
}

export interface PasswordService {
  /**
   * Ends every session of the user, and begins one. A wrong current password and a refused new one count like a failed login.
   * @throws `FST_TOKEN_AUTH_WRONG_PASSWORD`, `FST_TOKEN_AUTH_RATE_LIMITED`, `FST_TOKEN_AUTH_PASSWORD_*`
   */
  change (input: ChangePasswordInput): Promise<TokenGrant>
  /** Sets a password without the current one, and ends every session. */
  set (userId: UserId, password: string): Promise<void>
}

export interface PasswordSettings {
  users: UserStore
  sessions: SessionStore
  revocations: RevocationStore
  checker: PasswordChecker
  guard: AccountGuard
  policy: PasswordPolicy
  minter: TokenFactory
  announce: Propagate
  emit: Emit
}

type MintedToken = ReturnType<TokenFactory['mint']>

const pending = () => new PASSWORD_CHANGE_PENDING()

export function createPasswordService (settings: PasswordSettings): PasswordService {
  const { users, sessions, revocations, checker, guard, policy, minter, announce, emit } = settings

  async function find (userId: UserId): Promise<Credentials> {
    const user = await users.findById(userId)
    if (user === null) throw new INVALID_TOKEN()
    return user
  }

  async function replace (input: ChangePasswordInput, { username, passwordHash }: Credentials, token: MintedToken, triesLeft = 1): Promise<IssuedToken> {
    const { userId, sessionId, currentPassword, newPassword } = input
    if (await checker.verify(currentPassword, passwordHash) !== 'right') throw new WRONG_PASSWORD()
    await policy.check(newPassword, { username, current: currentPassword })
    const change = { userId, sessionId, verifiedHash: passwordHash as string, newHash: await checker.hash(newPassword), token: token.request }
    const issued = await sessions.changePassword(change)
    if (issued !== null) return issued
    // The hash was upgraded, or the password changed, since it was read.
    if (triesLeft === 0) throw new WRONG_PASSWORD()
    return await replace(input, await find(userId), token, triesLeft - 1)
  }

  // Whatever the client is refused for counts as a failure: with the right current password, too, a session could else have
  // hashes computed without an end.
  async function replaceGuarded (input: ChangePasswordInput, token: MintedToken): Promise<IssuedToken> {
    const user = await find(input.userId)
    let refusal: Error | null = null
    const issued = await guard.run({ username: user.username, ip: input.origin.ip }, () => replace(input, user, token).catch((error) => {
      if (!(error.statusCode < 500)) throw error
      refusal = error
      return null
    }))
    if (issued === null) throw refusal
    return issued
  }

  return {
    async change (input) {
      const { userId, sessionId, origin: { ip, requestId } } = input
      const minted = minter.mint(input.origin)
      const issued = await replaceGuarded(input, minted).catch((error) => {
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
