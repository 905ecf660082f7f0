import { INSUFFICIENT_SCOPE, INVALID_TOKEN, SESSION_NOT_FOUND } from '../errors.js'
import type { RevocationStore, Revoked, TokenRecord, TokenStore } from '../ports.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { RevokeReason } from '../../types/events.js'
import type { Session, UserId } from '../../types/user.js'
import type { About, Propagate } from './revocation.js'
import type { Emit } from './events.js'
import type { Origin } from './tokens.js'

export interface SessionService {
  /** Ends the token's session; once more for one that is over. @throws `FST_TOKEN_AUTH_INVALID_TOKEN` for no token of ours */
  logout (digest: Digest, from: From): Promise<void>
  /** Ends every session of the token's user. @throws `FST_TOKEN_AUTH_INVALID_TOKEN` */
  logoutAll (digest: Digest, from: From): Promise<void>
  list (userId: UserId): Promise<Session[]>
  /** @throws `FST_TOKEN_AUTH_SESSION_NOT_FOUND` */
  end (userId: UserId, sessionId: string, requestId: string): Promise<void>
  /** Ends all of a user's sessions; resolves to how many there were. */
  revokeUser (userId: UserId): Promise<number>
  /** Ends one token; `false` if there is none. */
  revokeToken (digest: Digest): Promise<boolean>
}

export interface SessionSettings {
  reader: TokenStore
  revocations: RevocationStore
  /** Asks SQL whose live token it is. */
  resolveFresh (digest: Digest): Promise<TokenRecord | null>
  cache: Pick<TokenCache, 'holdsTombstone'>
  announce: Propagate
  emit: Emit
}

/** Where a request came from, for the events. */
type From = Pick<Origin, 'ip' | 'requestId'>

/** What a token with scopes needs to manage the account's sessions and password. */
export const MANAGE_SCOPE = 'auth'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function createSessionService ({ reader, revocations, resolveFresh, cache, announce, emit }: SessionSettings): SessionService {
  async function finish ({ userId, ended: count, digests }: Revoked, reason: RevokeReason, about: About = {}): Promise<number> {
    await announce.revoked({ userId, reason, count, digests }, about)
    return count
  }

  // A session that was ended before is gone, unless its first deletion could not tell the cache.
  async function isUnfinished ({ ended, digests: [digest] }: Revoked): Promise<boolean> {
    if (ended > 0) return true
    return digest !== undefined && !await cache.holdsTombstone(digest).catch(() => false)
  }

  async function revokeUser (userId: UserId, reason: RevokeReason, about?: About): Promise<number> {
    return await finish(await revocations.user(userId, reason), reason, about)
  }

  function refuse (from: From): never {
    emit('tokenRefused', { reason: 'not_live', userId: null, sessionId: null, ...from })
    throw new INVALID_TOKEN()
  }

  // A call that is repeated after 503 comes with a token that the first one ended. It may finish that, and end nothing newer.
  async function finishLogoutAll (digest: Digest, from: From): Promise<void> {
    const ended = await revocations.endedTogether(digest)
    if (ended === null) return refuse(from)
    await announce.revoked({ ...ended, reason: 'logout_all', count: 0 })
  }

  return {
    async logout (digest, from) {
      const revoked = await revocations.token(digest, 'logout')
      if (!revoked.found) return refuse(from)
      const { userId, sessionId } = revoked
      if (revoked.ended > 0) emit('logout', { userId, sessionId, ...from })
      await finish(revoked, 'logout', { sessionId, requestId: from.requestId })
    },
    async logoutAll (digest, from) {
      const record = await resolveFresh(digest)
      if (record === null) return await finishLogoutAll(digest, from)
      if (record.scopes !== null && !record.scopes.includes(MANAGE_SCOPE)) throw new INSUFFICIENT_SCOPE()
      emit('logout', { userId: record.user.id, sessionId: null, ...from })
      await revokeUser(record.user.id, 'logout_all', { requestId: from.requestId })
    },
    list: reader.list,
    async end (userId, sessionId, requestId) {
      if (!UUID.test(sessionId)) throw new SESSION_NOT_FOUND()
      const revoked = await revocations.session(userId, sessionId, 'session_deleted')
      if (!await isUnfinished(revoked)) throw new SESSION_NOT_FOUND()
      await finish(revoked, 'session_deleted', { sessionId, requestId })
    },
    revokeUser: (userId) => revokeUser(userId, 'revoked'),
    async revokeToken (digest) {
      const revoked = await revocations.token(digest, 'revoked')
      await finish(revoked, 'revoked', { sessionId: revoked.sessionId })
      return revoked.found
    }
  }
}
