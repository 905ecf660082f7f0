import { INVALID_TOKEN, PASSWORD_CHANGE_PENDING, USER_NOT_FOUND, WRONG_PASSWORD } from '../errors.js'
import type { PasswordChecker } from '../passwords/checker.js'
import type { PasswordPolicy } from '../passwords/policy.js'
import type { Credentials, IssuedToken, RevocationStore, SessionStore, TokenRequest, UserStore } from '../ports.js'
import type { PasswordChangeFailure } from '../../types/events.js'
import type { TokenGrant } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import type { AccountLimit } from './account-limit.js'
import type { Emit } from './events.js'
import type { Propagate } from './revocation.js'
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
   * Ends every session of the user, and starts one. A wrong current password and a refused new one count like a failed login.
   * @throws `FST_TOKEN_AUTH_WRONG_PASSWORD`, `FST_TOKEN_AUTH_RATE_LIMITED`, `FST_TOKEN_AUTH_PASSWORD_*`
   */
  change (input: ChangePasswordInput): Promise<TokenGrant>
  /** Sets a password without the current one, and ends every session. @throws `FST_TOKEN_AUTH_USER_NOT_FOUND`, `FST_TOKEN_AUTH_PASSWORD_*` */
  set (userId: UserId, password: string): Promise<void>
}

export interface PasswordServiceSettings {
  users: Pick<UserStore, 'findCredentialsById'>
  sessions: Pick<SessionStore, 'changePassword'>
  revocations: Pick<RevocationStore, 'setPassword'>
  checker: Pick<PasswordChecker, 'hash' | 'verify'>
  accountLimit: AccountLimit
  policy: PasswordPolicy
  tokenFactory: TokenFactory
  propagate: Propagate
  emit: Emit
}

/** The current password is verified again if its hash changes before the new one is stored. */
const TRIES = 2

const pending = () => new PASSWORD_CHANGE_PENDING()

export function createPasswordService (settings: PasswordServiceSettings): PasswordService {
  const { users, sessions, revocations, checker, accountLimit, policy, tokenFactory, propagate, emit } = settings

  async function find (userId: UserId): Promise<Credentials> {
    const user = await users.findCredentialsById(userId)
    if (user === null) throw new INVALID_TOKEN()
    return user
  }

  // The steps of docs/routes.md. The first two, the live token and the body, are the route's.
  async function replace (input: ChangePasswordInput, token: TokenRequest): Promise<IssuedToken> {
    const user = await find(input.userId)
    // 3. The limit by account.
    const attempt = await accountLimit.enter({ username: user.username, ip: input.origin.ip })
    try {
      const issued = await verifyAndReplace(input, user, token)
      await attempt.succeed()
      return issued
    } catch (error) {
      // Every refusal counts as a failure: even with the right current password a session could otherwise have hashes computed without end.
      await ((error as { statusCode?: number }).statusCode! < 500 ? attempt.fail() : attempt.giveBack())
      throw error
    }
  }

  async function verifyAndReplace (input: ChangePasswordInput, { username, passwordHash }: Credentials, token: TokenRequest, triesLeft = TRIES): Promise<IssuedToken> {
    const { userId, sessionId, currentPassword, newPassword } = input
    // 4. The current password.
    if (await checker.verify(currentPassword, passwordHash) !== 'right') throw new WRONG_PASSWORD()
    // 5. The rules for the new one.
    await policy.check(newPassword, { username, current: currentPassword })
    // 6. The change, unless the verified hash has been replaced meanwhile.
    const newHash = await checker.hash(newPassword)
    const issued = await sessions.changePassword({ userId, sessionId, verifiedHash: passwordHash as string, newHash, token })
    if (issued !== null) return issued
    if (triesLeft === 1) throw new WRONG_PASSWORD()
    return await verifyAndReplace(input, await find(userId), token, triesLeft - 1)
  }

  return {
    async change (input) {
      const { userId, sessionId, origin: { ip, requestId } } = input
      const token = tokenFactory.create(input.origin)
      const issued = await replace(input, token.request).catch((error) => {
        emit('passwordChangeFailed', { reason: reasonOf(error), userId, sessionId, ip, requestId })
        throw error
      })
      emit('passwordChanged', { userId, sessionId, ip, requestId })
      // 7. The end of all other sessions, on every server.
      await propagate.displaced(issued, 'password_changed', { requestId, pending })
      return toGrant(token, issued)
    },
    async set (userId, password) {
      const user = await users.findCredentialsById(userId)
      if (user === null) throw new USER_NOT_FOUND()
      await policy.check(password, { username: user.username })
      const revoked = await revocations.setPassword(userId, await checker.hash(password))
      if (!revoked.found) throw new USER_NOT_FOUND()
      emit('passwordChanged', { userId, sessionId: null, ip: null, requestId: null })
      await propagate.revoked({ ...revoked, userId, reason: 'password_changed' }, { pending })
    }
  }
}

/** The reason that the event has for an error. */
function reasonOf ({ code = '' }: { code?: string }): PasswordChangeFailure {
  if (code === 'FST_TOKEN_AUTH_RATE_LIMITED') return 'account_limited'
  const rule = code.replace('FST_TOKEN_AUTH_', '').toLowerCase()
  return rule === 'wrong_password' || rule.startsWith('password_') ? rule as PasswordChangeFailure : 'unavailable'
}
