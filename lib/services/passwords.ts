import { INVALID_TOKEN, PASSWORD_CHANGE_PENDING, USER_NOT_FOUND, WRONG_PASSWORD } from '../errors.js'
import type { Hasher, RevocationWriter, SessionWriter, UserStore } from '../../types/ports.js'
import type { TokenGrant } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import type { PasswordPolicy } from '../passwords/policy.js'
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
  /** Ends every session of the user, and begins one. @throws `FST_TOKEN_AUTH_WRONG_PASSWORD`, `FST_TOKEN_AUTH_PASSWORD_*` */
  change (input: ChangePasswordInput): Promise<TokenGrant>
  /** Sets a password without the current one, and ends every session. */
  set (userId: UserId, password: string): Promise<void>
}

export interface PasswordSettings {
  users: UserStore
  sessions: SessionWriter
  revocations: RevocationWriter
  hasher: Hasher
  policy: PasswordPolicy
  minter: TokenMinter
  announce: Announce
  emit: Emit
}

export function createPasswordService ({ users, sessions, revocations, hasher, policy, minter, announce, emit }: PasswordSettings): PasswordService {
  return {
    async change ({ userId, sessionId, currentPassword, newPassword, origin }) {
      const user = await users.findById(userId)
      if (user === null) throw new INVALID_TOKEN()
      policy.check(newPassword, { username: user.username, current: currentPassword })
      const { passwordHash } = user
      if (passwordHash === null || !await hasher.verify(currentPassword, passwordHash)) throw new WRONG_PASSWORD()
      const { token, request } = minter.mint(origin)
      const issued = await sessions.changePassword({ userId, sessionId, verifiedHash: passwordHash, newHash: await hasher.hash(newPassword), token: request })
      if (issued === null) throw new WRONG_PASSWORD()
      emit('passwordChanged', { userId, sessionId, requestId: origin.requestId })
      await announce.displaced(issued, 'password_changed', () => new PASSWORD_CHANGE_PENDING())
      return toGrant(token, issued)
    },
    async set (userId, password) {
      const user = await users.findById(userId)
      if (user === null) throw new USER_NOT_FOUND()
      policy.check(password, { username: user.username })
      const revoked = await revocations.setPassword(userId, await hasher.hash(password))
      if (!revoked.found) throw new USER_NOT_FOUND()
      emit('passwordChanged', { userId, sessionId: null, requestId: null })
      const { ended: count, digests } = revoked
      await announce.revoked({ userId, reason: 'password_changed', count, digests }, () => new PASSWORD_CHANGE_PENDING())
    }
  }
}
