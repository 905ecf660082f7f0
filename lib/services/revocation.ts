import { REVOCATION_PENDING } from '../errors.js'
import type { EndedTokens, IssuedToken, RevocationStore } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { RevokeReason } from '../../types/events.js'
import type { UserId } from '../../types/user.js'
import type { Emit } from './events.js'

/** Tokens whose end the database has committed, and why they ended. */
export interface Revocation extends EndedTokens {
  userId: UserId | null
  reason: RevokeReason
}

export interface RevocationContext {
  /** For the event. */
  sessionId?: string | null
  requestId?: string | null
  /** The error if the cache does not acknowledge; `FST_TOKEN_AUTH_REVOCATION_PENDING` by default. */
  pending?: () => Error
}

/** Carries a committed revocation to every server. */
export interface Propagate {
  /** Resolves when no server accepts the tokens any more. @throws `FST_TOKEN_AUTH_REVOCATION_PENDING` */
  revoked (revocation: Revocation, context?: RevocationContext): Promise<void>
  /** The same for tokens that a new one displaced. If it fails the new token ends too: its client never receives it. */
  displaced (issued: IssuedToken, reason: RevokeReason, context?: RevocationContext): Promise<void>
}

export interface PropagateSettings {
  writeTombstones: (digests: readonly Digest[]) => Promise<boolean>
  revocations: Pick<RevocationStore, 'session'>
  revocation: 'strict' | 'bounded'
  emit: Emit
}

/**
 * Writes the tombstones of a revocation. `strict`: if the cache does not acknowledge them, the revocation is pending, and the caller rejects.
 * `bounded`: the caller succeeds, and a server may accept the token for `cache.ttl` and a lease (2 s) more.
 */
export function createPropagate ({ writeTombstones, revocations, revocation: mode, emit }: PropagateSettings): Propagate {
  const propagate: Propagate = {
    async revoked ({ userId, reason, count, digests }, { sessionId = null, requestId = null, pending = () => new REVOCATION_PENDING() } = {}) {
      if (count > 0) emit('revoked', { userId, reason, count, sessionId, requestId })
      const isAcknowledged = await writeTombstones(digests)
      if (!isAcknowledged && mode === 'strict') throw pending()
    },
    async displaced ({ sessionId, user, displaced }, reason, context) {
      const userId = user.id as UserId
      try {
        await propagate.revoked({ userId, reason, ...displaced }, context)
      } catch (error) {
        await revocations.session(userId, sessionId, 'revoked').catch(() => {})
        throw error
      }
    }
  }
  return propagate
}
