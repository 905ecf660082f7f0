import type { IssuedToken, TokenRequest } from '../ports.js'
import type { TokenGrant } from '../../types/token-auth.js'
import { digestOf } from '../crypto/token.js'
import type { TokenFormat } from '../crypto/token.js'

/** Where a request came from, as it is kept with the session. */
export interface Origin {
  ip: string | null
  userAgent: string | null
  requestId: string | null
}

export type NewToken = Pick<TokenRequest, 'ip' | 'userAgent'> & Partial<Pick<TokenRequest, 'ttlMs' | 'label' | 'scopes'>>

export interface TokenFactory {
  mint (about: NewToken): { token: string, request: TokenRequest }
}

export function createTokenFactory ({ format, ttlMs }: { format: TokenFormat, ttlMs: number }): TokenFactory {
  return {
    mint (about) {
      const token = format.create()
      return { token, request: { ttlMs, label: null, scopes: null, ...about, digest: digestOf(token) } }
    }
  }
}

export function toGrant (token: string, { sessionId, user, expiresAt }: IssuedToken): TokenGrant {
  return { token, sessionId, user, expiresAt }
}
