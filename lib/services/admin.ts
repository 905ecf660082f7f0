import { USER_NOT_FOUND } from '../errors.js'
import type { Hasher, RevocationWriter, SessionWriter, TokenCache, TokenReader, UserStore } from '../../types/ports.js'
import type { PruneProgress, TokenAuth, TokenGrant } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import type { PasswordPolicy } from '../passwords/policy.js'
import type { Announce } from './announce.js'
import type { Emit } from './events.js'
import { toGrant } from './issue.js'
import type { NewToken, TokenMinter } from './issue.js'

type UserAdmin = Pick<TokenAuth, 'createUser' | 'setActive' | 'deleteUser' | 'refreshUser'>

export interface AdminService extends UserAdmin {
  issueToken (userId: UserId, about: NewToken): Promise<TokenGrant>
  pruneExpired (options: { batchSize: number, onProgress: (progress: PruneProgress) => void }): Promise<number>
}

export interface AdminSettings {
  users: UserStore
  reader: TokenReader
  sessions: SessionWriter
  revocations: RevocationWriter
  cache: Pick<TokenCache, 'drop'>
  hasher: Hasher
  policy: PasswordPolicy
  minter: TokenMinter
  announce: Announce
  emit: Emit
  retentionMs: number
}

export function createAdminService (settings: AdminSettings): AdminService {
  const { users, reader, sessions, revocations, cache, hasher, policy, minter, announce, emit } = settings
  return {
    async createUser ({ username, password, fields = {} }) {
      if (password !== null) policy.check(password, { username })
      return await users.create({ username, passwordHash: password === null ? null : await hasher.hash(password), fields })
    },
    async setActive (userId, active) {
      const revoked = await revocations.setActive(userId, active)
      if (!revoked.found) throw new USER_NOT_FOUND()
      if (!active) emit('revoked', { userId, reason: 'deactivated', count: revoked.ended })
      await announce(revoked.digests)
    },
    async deleteUser (userId) {
      const revoked = await revocations.deleteUser(userId)
      if (revoked.found) emit('revoked', { userId, reason: 'user_deleted', count: revoked.ended })
      await announce(revoked.digests)
      return revoked.found
    },
    async issueToken (userId, about) {
      const { token, request } = minter.mint(about)
      const issued = await sessions.issue(userId, request)
      if (issued === null) throw new USER_NOT_FOUND()
      await announce(issued.revoked)
      return toGrant(token, issued)
    },
    // A dropped entry is as good as an evicted one: whoever fills it next has read SQL after this change.
    async refreshUser (userId) {
      const digests = await reader.liveDigests(userId)
      return await cache.drop(digests).then(() => true, () => false)
    },
    async pruneExpired ({ batchSize, onProgress }) {
      let deleted = 0
      let batch: number
      do {
        batch = await reader.prune(settings.retentionMs, batchSize)
        deleted += batch
        onProgress({ deleted, done: batch < batchSize })
      } while (batch === batchSize)
      return deleted
    }
  }
}
