import { REVOCATION_PENDING } from '../errors.js'
import type { Digest, IssuedToken, RevocationWriter, RevokeReason } from '../../types/ports.js'
import type { UserId } from '../../types/user.js'
import type { Emit } from './events.js'

export interface Announce {
  /** Resolves when no server accepts the tokens any more; the database has committed their end before. */
  revoked (event: { userId: UserId | null, reason: RevokeReason, count: number, digests: readonly Digest[] }, pending?: () => Error): Promise<void>
  /** The same for those that a new token displaced. Where it fails the new one ends too: nobody will ever hear of it. */
  displaced (issued: IssuedToken, reason: RevokeReason, pending?: () => Error): Promise<void>
}

export interface AnnounceSettings {
  writeTombstones: (digests: readonly Digest[]) => Promise<boolean>
  revocations: Pick<RevocationWriter, 'session'>
  revocation: 'strict' | 'bounded'
  emit: Emit
}

/**
 * `strict`: without the cache's acknowledgement the caller is told that the revocation is pending.
 * `bounded`: the caller is told that it is done; a server may accept the token for `cache.ttl` and a lease (2 s) more.
 */
export function createAnnounce ({ writeTombstones, revocations, revocation, emit }: AnnounceSettings): Announce {
  const announce: Announce = {
    async revoked ({ digests, ...event }, pending = () => new REVOCATION_PENDING()) {
      if (event.count > 0) emit('revoked', event)
      const isAcknowledged = await writeTombstones(digests)
      if (!isAcknowledged && revocation === 'strict') throw pending()
    },
    async displaced ({ sessionId, user, revoked }, reason, pending) {
      const userId = user.id as UserId
      try {
        await announce.revoked({ userId, reason, count: revoked.length, digests: revoked }, pending)
      } catch (error) {
        await revocations.session(userId, sessionId, 'revoked').catch(() => {})
        throw error
      }
    }
  }
  return announce
}
