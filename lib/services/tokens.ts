import { digestOf } from '../crypto/token.js'
import type { TokenFormat } from '../crypto/token.js'
import type { IssuedToken, TokenRequest } from '../ports.js'
import type { TokenGrant } from '../../types/token-auth.js'

/** The origin of a request, as it is stored with the session. */
export interface Origin {
  ip: string | null
  userAgent: string | null
  requestId: string | null
}

/** The part of an origin that events have. */
export type EventOrigin = Pick<Origin, 'ip' | 'requestId'>

export type NewToken = Pick<TokenRequest, 'ip' | 'userAgent'> & Partial<Pick<TokenRequest, 'ttlMs' | 'label' | 'scopes'>>

/** A token that is not stored yet: its text for the client, and what the database is to keep. */
export interface CreatedToken { text: string, request: TokenRequest }

export interface TokenFactory {
  create (token: NewToken): CreatedToken
}

export function createTokenFactory ({ format, ttlMs }: { format: TokenFormat, ttlMs: number }): TokenFactory {
  return {
    create (token) {
      const text = format.create()
      return { text, request: { ttlMs, label: null, scopes: null, ...token, digest: digestOf(text) } }
    }
  }
}

export function toGrant ({ text }: CreatedToken, { sessionId, user, expiresAt }: IssuedToken): TokenGrant {
  return { token: text, sessionId, user, expiresAt }
}
