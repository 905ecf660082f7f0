import type { FastifyReply } from 'fastify'
import type { TokenAuthError } from '../errors.js'
import { isOwnError } from '../tools/own-error.js'

/** An error of this plugin, with the values of its headers. */
export interface AnswerError extends TokenAuthError {
  retryAfterSeconds?: number
  scope?: string
}

const CHALLENGES: Record<string, string> = {
  FST_TOKEN_AUTH_INVALID_TOKEN: ', error="invalid_token"',
  FST_TOKEN_AUTH_INSUFFICIENT_SCOPE: ', error="insufficient_scope"'
}

/** The challenge of a 401: the first scheme that is accepted, `Bearer` if it is one of them. */
export function challengeOf ({ schemes, realm }: { schemes: readonly string[], realm: string }): string {
  return `${schemes.includes('Bearer') ? 'Bearer' : schemes[0]} realm="${realm}"`
}

/**
 * Sets the headers of an error of this plugin, before the application's error handler answers it: a challenge with every 401
 * (RFC 9110 15.5.2, RFC 6750 3), Retry-After with every 429 and 503. What the application throws itself has the headers that it has set.
 */
export function setErrorHeaders (reply: FastifyReply, error: unknown, challenge: string): void {
  if (!isOwnError(error)) return
  const { statusCode, code, scope: wanted, retryAfterSeconds } = error as AnswerError
  if (statusCode === 401 || code in CHALLENGES) {
    const scope = wanted === undefined ? '' : `, scope="${wanted}"`
    reply.header('www-authenticate', `${challenge}${CHALLENGES[code] ?? ''}${scope}`)
  }
  if (statusCode === 429 || statusCode === 503) {
    reply.header('retry-after', Math.max(1, Math.ceil(retryAfterSeconds ?? 1)))
  }
}
