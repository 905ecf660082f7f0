import type { IncomingHttpHeaders } from 'node:http'
import { MALFORMED_AUTHORIZATION } from '../errors.js'

export interface RawHeaders {
  headers: IncomingHttpHeaders
  /** Absent on the mock requests of `app.injectWS()`. */
  rawHeaders?: string[]
}

/**
 * The token of the Authorization header, or `null` without one of the schemes (compared without case).
 * Nothing but that header is ever read (RFC 6750 2).
 * @throws `FST_TOKEN_AUTH_MALFORMED_AUTHORIZATION` for two such headers, of which Node would hide the second
 */
export function readBearer ({ headers, rawHeaders }: RawHeaders, schemes: ReadonlySet<string>): string | null {
  const value = headers.authorization
  if (value === undefined) return null
  refuseSecond(rawHeaders)
  const space = value.indexOf(' ')
  if (space === -1 || !schemes.has(value.slice(0, space).toLowerCase())) return null
  const token = value.slice(space + 1).trim()
  return token === '' ? null : token
}

function refuseSecond (rawHeaders: string[] = []): void {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 13 && name.toLowerCase() === 'authorization' && ++count > 1) throw new MALFORMED_AUTHORIZATION()
  }
}
