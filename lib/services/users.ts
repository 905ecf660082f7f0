import { INVALID_USERNAME, USER_NOT_FOUND } from '../errors.js'
import type { PasswordChecker } from '../passwords/checker.js'
import type { PasswordPolicy } from '../passwords/policy.js'
import type { RevocationStore, SessionStore, TokenStore, UserStore } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { PruneProgress, TokenAuth, TokenGrant } from '../../types/token-auth.js'
import type { AuthenticatedUser, UserId } from '../../types/user.js'
import type { Propagate } from './revocation.js'
import { toGrant } from './tokens.js'
import type { NewToken, TokenFactory } from './tokens.js'

export interface UserService extends Pick<TokenAuth, 'findUser' | 'setActive' | 'deleteUser' | 'refreshUser'> {
  createUser (user: { username: string, password: string | null, fields: Record<string, unknown> }): Promise<AuthenticatedUser>
  issueToken (userId: UserId, token: NewToken): Promise<TokenGrant>
  /** Writes the tombstones of deleted users again: the calls that deleted them may not have. */
  finishDeletions (): Promise<void>
  pruneExpired (options: { batchSize: number, onProgress: (progress: PruneProgress) => void }): Promise<number>
}

/** Usernames that a login accepts: 1 to 254 code points, not only spaces, none of which a database rejects or a decoder replaces. */
const USERNAME = /^(?=\s*\S)[^\0\uD800-\uDFFF\uFFFD]{1,254}$/u

export interface UserServiceSettings {
  users: Pick<UserStore, 'create' | 'find'>
  tokens: Pick<TokenStore, 'prune'>
  sessions: Pick<SessionStore, 'issue'>
  revocations: Pick<RevocationStore, 'setActive' | 'deleteUser' | 'endedOfDeletedUsers' | 'refresh'>
  /** Drops entries of the cache; `false` if it has not acknowledged that yet. */
  dropEntries: (digests: readonly Digest[]) => Promise<boolean>
  checker: Pick<PasswordChecker, 'hash'>
  policy: PasswordPolicy
  tokenFactory: TokenFactory
  propagate: Propagate
  canonicalize: (username: string) => string
  retentionMs: number
}

export function createUserService (settings: UserServiceSettings): UserService {
  const { users, tokens, sessions, revocations, dropEntries, checker, policy, tokenFactory, propagate, canonicalize, retentionMs } = settings

  return {
    async createUser ({ username: given, password, fields }) {
      const username = canonicalize(given)
      if (!USERNAME.test(username)) throw new INVALID_USERNAME()
      if (password !== null) await policy.check(password, { username })
      return await users.create({ username, passwordHash: password === null ? null : await checker.hash(password), fields })
    },
    findUser: (username) => users.find(canonicalize(username)),
    async setActive (userId, active) {
      const revoked = await revocations.setActive(userId, active)
      if (!revoked.found) throw new USER_NOT_FOUND()
      await propagate.revoked({ ...revoked, userId, reason: 'deactivated' })
    },
    async deleteUser (userId) {
      const revoked = await revocations.deleteUser(userId)
      await propagate.revoked({ ...revoked, userId, reason: 'user_deleted' })
      return revoked.found
    },
    async finishDeletions () {
      await propagate.revoked({ userId: null, reason: 'user_deleted', count: 0, digests: await revocations.endedOfDeletedUsers() })
    },
    async issueToken (userId, about) {
      const token = tokenFactory.create(about)
      const issued = await sessions.issue(userId, token.request)
      if (issued === null) throw new USER_NOT_FOUND()
      await propagate.displaced(issued, 'too_many')
      return toGrant(token, issued)
    },
    // A dropped entry is as good as an evicted one: the next reader that fills it has read SQL after this change.
    async refreshUser (userId) {
      return await dropEntries(await revocations.refresh(userId))
    },
    async pruneExpired ({ batchSize, onProgress }) {
      let deleted = 0
      let batch: number
      do {
        batch = await tokens.prune(retentionMs, batchSize)
        deleted += batch
        onProgress({ deleted, done: batch < batchSize })
      } while (batch === batchSize)
      return deleted
    }
  }
}
