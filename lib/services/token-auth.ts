import { digestOf } from '../crypto/token.js'
import type { TokenFormat } from '../crypto/token.js'
import { duration } from '../options/rules.js'
import { clientAddress } from '../tools/client-address.js'
import type { TokenAuth } from '../../types/token-auth.js'
import type { PasswordService } from './passwords.js'
import type { SessionService } from './sessions.js'
import type { UserService } from './users.js'

export interface TokenAuthParts extends Pick<TokenAuth, 'health' | 'openapi'> {
  users: UserService
  passwords: Pick<PasswordService, 'set'>
  sessions: SessionService
  revokeAll: TokenAuth['revokeAll']
  format: Pick<TokenFormat, 'isWellFormed'>
}

/** `fastify.tokenAuth`: the services with the defaults and checks of a public API. */
export function createTokenAuth ({ users, passwords, sessions, revokeAll, format, health, openapi }: TokenAuthParts): TokenAuth {
  return {
    ...users,
    async issueToken (userId, { ttl, label = null, scopes = null, ip = null, userAgent = null } = {}) {
      const life = ttl === undefined ? {} : { ttlMs: duration({ min: 1000 })(ttl, 'ttl') }
      // A string that is not an address is left for the database to reject.
      return await users.issueToken(userId, { label, scopes, ip: clientAddress(ip) ?? ip, userAgent, ...life })
    },
    pruneExpired: ({ batchSize = 1000, onProgress = () => {} } = {}) => users.pruneExpired({ batchSize, onProgress }),
    setPassword: passwords.set,
    revokeToken: async (text) => format.isWellFormed(text) && await sessions.revokeToken(digestOf(text)),
    revokeUser: sessions.revokeUser,
    revokeSession: sessions.revokeSession,
    revokeAll,
    listSessions: sessions.list,
    health,
    openapi
  }
}
