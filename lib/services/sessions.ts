import { INVALID_TOKEN, SESSION_NOT_FOUND } from '../errors.js'
import type { RevocationStore, Revoked, TokenRecord, TokenStore } from '../ports.js'
import { missingScope } from '../tools/scopes.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { RevokeReason } from '../../types/events.js'
import type { Session, UserId } from '../../types/user.js'
import type { Emit } from './events.js'
import type { Propagate, RevocationContext } from './revocation.js'
import type { EventOrigin } from './tokens.js'

export interface SessionService {
  /** Ends the token's session, or finishes an earlier call that did. @throws `FST_TOKEN_AUTH_INVALID_TOKEN` for an unknown token */
  logout (digest: Digest, origin: EventOrigin): Promise<void>
  /** Ends every session of the token's user. @throws `FST_TOKEN_AUTH_INVALID_TOKEN`, `FST_TOKEN_AUTH_INSUFFICIENT_SCOPE` */
  logoutAll (digest: Digest, origin: EventOrigin): Promise<void>
  list (userId: UserId): Promise<Session[]>
  /** @throws `FST_TOKEN_AUTH_SESSION_NOT_FOUND` */
  end (userId: UserId, sessionId: string, requestId: string): Promise<void>
  /** Ends all sessions of a user; resolves to their number. */
  revokeUser (userId: UserId): Promise<number>
  /** Ends one session; `false` if there is none. */
  revokeSession (sessionId: string): Promise<boolean>
  /** Ends one token; `false` if there is none. */
  revokeToken (digest: Digest): Promise<boolean>
}

export interface SessionServiceSettings {
  tokens: Pick<TokenStore, 'list' | 'digestOf'>
  revocations: Pick<RevocationStore, 'token' | 'session' | 'user' | 'endedTogether'>
  /** Looks the live token up in SQL. */
  lookupFresh (digest: Digest): Promise<TokenRecord | null>
  holdsTombstone: TokenCache['holdsTombstone']
  propagate: Propagate
  emit: Emit
}

/** The scope that a token with scopes needs to manage the account's sessions and password. */
export const MANAGE_SCOPE = 'auth'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function createSessionService ({ tokens, revocations, lookupFresh, holdsTombstone, propagate, emit }: SessionServiceSettings): SessionService {
  // A session that was ended before is gone, unless its first deletion could not write the tombstone.
  async function isUnfinished ({ count, digests: [digest] }: Revoked): Promise<boolean> {
    if (count > 0) return true
    return digest !== undefined && !await holdsTombstone(digest).catch(() => false)
  }

  async function revokeUser (userId: UserId, reason: RevokeReason, context?: RevocationContext): Promise<number> {
    const revoked = await revocations.user(userId, reason)
    await propagate.revoked({ ...revoked, reason }, context)
    return revoked.count
  }

  async function revokeToken (digest: Digest): Promise<boolean> {
    const revoked = await revocations.token(digest, 'revoked')
    await propagate.revoked({ ...revoked, reason: 'revoked' }, { sessionId: revoked.sessionId })
    return revoked.found
  }

  function refuse (origin: EventOrigin): never {
    emit('tokenRefused', { reason: 'not_live', userId: null, sessionId: null, ...origin })
    throw new INVALID_TOKEN()
  }

  // As the hook of the other routes that manage the account: this route reads the token itself.
  function refuseLimited (record: TokenRecord, origin: EventOrigin): void {
    const missing = missingScope(record, [MANAGE_SCOPE])
    if (missing === undefined) return
    emit('tokenRefused', { reason: 'insufficient_scope', userId: record.user.id, sessionId: record.sessionId, ...origin })
    throw missing
  }

  // A call repeated after a 503 has a token that the first call ended. It may complete that call, and must end nothing newer.
  async function finishLogoutAll (digest: Digest, origin: EventOrigin): Promise<void> {
    const ended = await revocations.endedTogether(digest)
    if (ended === null) return refuse(origin)
    await propagate.revoked({ ...ended, reason: 'logout_all', count: 0 })
  }

  return {
    async logout (digest, origin) {
      const revoked = await revocations.token(digest, 'logout')
      if (!revoked.found) return refuse(origin)
      const { userId, sessionId } = revoked
      if (revoked.count > 0) emit('logout', { userId, sessionId, ...origin })
      await propagate.revoked({ ...revoked, reason: 'logout' }, { sessionId, requestId: origin.requestId })
    },
    async logoutAll (digest, origin) {
      const record = await lookupFresh(digest)
      if (record === null) return await finishLogoutAll(digest, origin)
      refuseLimited(record, origin)
      emit('logout', { userId: record.user.id, sessionId: null, ...origin })
      await revokeUser(record.user.id, 'logout_all', { requestId: origin.requestId })
    },
    list: tokens.list,
    async end (userId, sessionId, requestId) {
      if (!UUID.test(sessionId)) throw new SESSION_NOT_FOUND()
      const revoked = await revocations.session(userId, sessionId, 'session_deleted')
      const isFound = await isUnfinished(revoked)
      // Also if the tombstone is there: other servers may still be waited for.
      await propagate.revoked({ ...revoked, reason: 'session_deleted' }, { sessionId, requestId })
      if (!isFound) throw new SESSION_NOT_FOUND()
    },
    revokeUser: (userId) => revokeUser(userId, 'revoked'),
    // By its token, and not by its user: the user may have been deleted.
    async revokeSession (sessionId) {
      const digest = UUID.test(sessionId) ? await tokens.digestOf(sessionId) : null
      return digest !== null && await revokeToken(digest)
    },
    revokeToken
  }
}
