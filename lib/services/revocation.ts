import { REVOCATION_PENDING } from '../errors.js'
import type { IssuedToken, RevocationStore } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { RevokeReason } from '../../types/events.js'
import type { UserId } from '../../types/user.js'
import type { Emit } from './events.js'

/** Tokens whose end the database has committed. `count` is how many this call ended. */
export interface Ended {
  userId: UserId | null
  reason: RevokeReason
  count: number
  digests: readonly Digest[]
}

/** What the event tells beside it, and the error where the cache did not confirm. */
export interface About {
  sessionId?: string | null
  requestId?: string | null
  pending?: () => Error
}

export interface Propagate {
  /** Resolves when no server accepts the tokens any more. */
  revoked (ended: Ended, about?: About): Promise<void>
  /** The same for those that a new token displaced. Where it fails the new one ends too: nobody will ever hear of it. */
  displaced (issued: IssuedToken, reason: RevokeReason, about?: About): Promise<void>
}

export interface PropagateSettings {
  writeTombstones: (digests: readonly Digest[]) => Promise<boolean>
  revocations: Pick<RevocationStore, 'session'>
  revocation: 'strict' | 'bounded'
  emit: Emit
}

/**
 * `strict`: without the cache's acknowledgement the caller is told that the revocation is pending.
 * `bounded`: the caller is told that it is done; a server may accept the token for `cache.ttl` and a lease (2 s) more.
 */
export function createPropagate ({ writeTombstones, revocations, revocation, emit }: PropagateSettings): Propagate {
  const announce: Propagate = {
    async revoked ({ digests, ...ended }, { sessionId = null, requestId = null, pending = () => new REVOCATION_PENDING() } = {}) {
      if (ended.count > 0) emit('revoked', { ...ended, sessionId, requestId })
      const isAcknowledged = await writeTombstones(digests)
      if (!isAcknowledged && revocation === 'strict') throw pending()
    },
    async displaced ({ sessionId, user, ended, revoked }, reason, about) {
      const userId = user.id as UserId
      try {
        await announce.revoked({ userId, reason, count: ended, digests: revoked }, about)
      } catch (error) {
        await revocations.session(userId, sessionId, 'revoked').catch(() => {})
        throw error
      }
    }
  }
  return announce
}
