import type { FastifyRequest } from 'fastify'
import { digestOf } from '../crypto/token.js'
import type { TokenFormat } from '../crypto/token.js'
import { INVALID_TOKEN, MALFORMED_AUTHORIZATION, UNAUTHENTICATED } from '../errors.js'
import type { Digest } from '../../types/cache.js'

/** Reads the digest of a request's token; `null` without a token. @throws `FST_TOKEN_AUTH_MALFORMED_AUTHORIZATION`, `FST_TOKEN_AUTH_INVALID_TOKEN` */
export type ReadDigest = (request: FastifyRequest) => Digest | null

export interface ReadDigestSettings {
  schemes: readonly string[]
  isWellFormed: TokenFormat['isWellFormed']
  onMalformed: (request: FastifyRequest) => void
}

/** The way from the Authorization header to a digest. Nothing but that header is ever read (RFC 6750 2). */
export function createReadDigest ({ schemes, isWellFormed, onMalformed }: ReadDigestSettings): ReadDigest {
  const accepted = new Set(schemes.map((scheme) => scheme.toLowerCase()))
  return (request) => {
    const token = readToken(request.raw, accepted)
    if (token === null) return null
    if (isWellFormed(token)) return digestOf(token)
    onMalformed(request)
    throw new INVALID_TOKEN()
  }
}

/** The same for routes that need a token, in whatever state it is. @throws `FST_TOKEN_AUTH_UNAUTHENTICATED` without one */
export function requireDigest (read: ReadDigest): (request: FastifyRequest) => Digest {
  return (request) => {
    const digest = read(request)
    if (digest === null) throw new UNAUTHENTICATED()
    return digest
  }
}

/** `null` without one of the schemes, which are compared without case. @throws `FST_TOKEN_AUTH_MALFORMED_AUTHORIZATION` for two headers */
function readToken ({ headers, rawHeaders }: FastifyRequest['raw'], schemes: ReadonlySet<string>): string | null {
  const value = headers.authorization
  if (value === undefined) return null
  refuseSecond(rawHeaders)
  const space = value.indexOf(' ')
  if (space === -1 || !schemes.has(value.slice(0, space).toLowerCase())) return null
  const token = value.slice(space + 1).trim()
  return token === '' ? null : token
}

// Node.js hides the second of two headers. `rawHeaders` is absent on the mock requests of `app.injectWS()`.
function refuseSecond (rawHeaders: string[] = []): void {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 13 && name.toLowerCase() === 'authorization' && ++count > 1) throw new MALFORMED_AUTHORIZATION()
  }
}
