import { digestOf } from '../crypto/token.js'
import type { TokenFormat } from '../crypto/token.js'
import { boolean } from '../options/rules.js'
import { clientAddress } from '../tools/client-address.js'
import type { TokenAuth } from '../../types/token-auth.js'
import { readNewToken, readNewUser, readPrune, readRevokeAll, string, userId } from './arguments.js'
import type { PasswordService } from './passwords.js'
import type { RevokeAll } from './revoke-all.js'
import type { SessionService } from './sessions.js'
import type { UserService } from './users.js'

export interface TokenAuthParts extends Pick<TokenAuth, 'health' | 'openapi'> {
  users: UserService
  passwords: Pick<PasswordService, 'set'>
  sessions: SessionService
  revokeAll: RevokeAll
  format: Pick<TokenFormat, 'isWellFormed'>
}

const isActive = boolean()

/** `fastify.tokenAuth`: the services with the defaults and checks of a public API. */
export function createTokenAuth ({ users, passwords, sessions, revokeAll, format, health, openapi }: TokenAuthParts): TokenAuth {
  return {
    createUser: async (user) => await users.createUser(readNewUser(user)),
    findUser: async (username) => await users.findUser(string(username, 'username')),
    setPassword: async (id, password) => { await passwords.set(userId(id, 'userId'), string(password, 'password')) },
    setActive: async (id, active) => { await users.setActive(userId(id, 'userId'), isActive(active, 'active')) },
    deleteUser: async (id) => await users.deleteUser(userId(id, 'userId')),
    async issueToken (id, options = {}) {
      const { ttl, ip, ...token } = readNewToken(options)
      // A string that is not an address is left for the database to reject.
      return await users.issueToken(userId(id, 'userId'), { ...token, ip: clientAddress(ip) ?? ip, ...ttl === null ? {} : { ttlMs: ttl } })
    },
    revokeToken: async (text) => format.isWellFormed(string(text, 'token')) && await sessions.revokeToken(digestOf(text)),
    revokeSession: async (sessionId) => await sessions.revokeSession(string(sessionId, 'sessionId')),
    revokeUser: async (id) => await sessions.revokeUser(userId(id, 'userId')),
    revokeAll: async (options = {}) => await revokeAll(readRevokeAll(options)),
    listSessions: async (id) => await sessions.list(userId(id, 'userId')),
    refreshUser: async (id) => await users.refreshUser(userId(id, 'userId')),
    pruneExpired: async (options = {}) => await users.pruneExpired(readPrune(options)),
    health,
    openapi
  }
}
