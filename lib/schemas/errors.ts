import { Type } from '@sinclair/typebox'
import type { TObject } from '@sinclair/typebox'

const retryAfter = { 'Retry-After': { type: 'integer', minimum: 1, description: 'Seconds to wait' } }
const challenge = { 'WWW-Authenticate': { type: 'string', description: 'RFC 6750; with error="invalid_token" if a token was sent' } }

/** Fastify's own shape of an error. */
function errorReply (description: string, headers: object): TObject {
  return Type.Object({
    statusCode: Type.Integer(),
    code: Type.String({ description: 'FST_TOKEN_AUTH_*, or Fastify\'s own; see docs/errors.md' }),
    error: Type.String(),
    message: Type.String()
  }, { description, headers })
}

const REPLIES = {
  400: errorReply('The input is not as described', {}),
  401: errorReply('No token, one that is not good, or wrong credentials', challenge),
  403: errorReply('Refused', {}),
  404: errorReply('No such session', {}),
  413: errorReply('The body is too large', {}),
  415: errorReply('The body is not application/json', {}),
  429: errorReply('Too many attempts', retryAfter),
  503: errorReply('Not possible now', retryAfter)
}

/** The error replies of a route, by status. */
export function errorReplies<Status extends keyof typeof REPLIES> (...statuses: Status[]): Pick<typeof REPLIES, Status> {
  return Object.fromEntries(statuses.map((status) => [status, REPLIES[status]])) as Pick<typeof REPLIES, Status>
}
