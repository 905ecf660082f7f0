import type { FastifyRequest } from 'fastify'
import { digestOf } from '../crypto/token.js'
import type { TokenFormat } from '../crypto/token.js'
import { INVALID_TOKEN, MALFORMED_AUTHORIZATION, UNAUTHENTICATED } from '../errors.js'
import type { Digest } from '../../types/cache.js'

/** Reads the token of a request; `null` without one. @throws `FST_TOKEN_AUTH_MALFORMED_AUTHORIZATION` for two headers */
export type ReadToken = (request: Pick<FastifyRequest, 'raw'>) => string | null

/**
 * Reads the Authorization header. Nothing but that header is ever read (RFC 6750 2). Schemes are compared without case; those written as in the
 * RFC are found sooner.
 */
export function createReadToken (schemes: readonly string[]): ReadToken {
  const usual = schemes.map((scheme) => `${scheme} `)
  const accepted = new Set(schemes.map((scheme) => scheme.toLowerCase()))

  function schemeLength (value: string): number | null {
    for (const start of usual) if (value.startsWith(start)) return start.length
    const space = value.indexOf(' ')
    return space !== -1 && accepted.has(value.slice(0, space).toLowerCase()) ? space + 1 : null
  }

  return ({ raw: { headers, rawHeaders } }) => {
    const value = headers.authorization
    if (value === undefined) return null
    refuseSecond(rawHeaders)
    const start = schemeLength(value)
    if (start === null) return null
    const token = value.slice(start)
    return isPadded(token) ? token.trim() || null : token
  }
}

const SPACE = 32

// Sooner than to trim every token; also true of an empty one.
function isPadded (token: string): boolean {
  return !(token.charCodeAt(0) > SPACE && token.charCodeAt(token.length - 1) > SPACE)
}

// Node.js hides the second of two headers. `rawHeaders` is absent on the mock requests of `app.injectWS()`.
function refuseSecond (rawHeaders: string[] = []): void {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 13 && name.toLowerCase() === 'authorization' && ++count > 1) throw new MALFORMED_AUTHORIZATION()
  }
}

export interface RequireDigestSettings {
  readToken: ReadToken
  isWellFormed: TokenFormat['isWellFormed']
  onMalformed: (request: FastifyRequest) => void
}

/** The digest for routes that need a token, in whatever state it is. @throws `FST_TOKEN_AUTH_UNAUTHENTICATED`, `FST_TOKEN_AUTH_INVALID_TOKEN` */
export function createRequireDigest ({ readToken, isWellFormed, onMalformed }: RequireDigestSettings): (request: FastifyRequest) => Digest {
  return (request) => {
    const token = readToken(request)
    if (token === null) throw new UNAUTHENTICATED()
    if (isWellFormed(token)) return digestOf(token)
    onMalformed(request)
    throw new INVALID_TOKEN()
  }
}
