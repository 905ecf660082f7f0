import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AuthenticatedUser, AuthSession } from './user.js'
import type { TokenAuth } from './token-auth.js'

export interface AuthenticateVariant {
  /** Requests without a token pass, with `request.user` null. A token that is sent must still be good. */
  optional?: boolean
  /** Asks SQL, not the cache: for sensitive routes. */
  fresh?: boolean
  /** Scopes the token must have, else 403 `FST_TOKEN_AUTH_INSUFFICIENT_SCOPE`. */
  scopes?: readonly string[]
}

/**
 * A hook for `onRequest`, `preValidation`, `preHandler` and `@fastify/auth`; or awaited: `await app.authenticate(request, reply)`.
 * Another hook of a route refuses it, by its types and with `FST_TOKEN_AUTH_INVALID_OPTION` when the route is registered; with `addHook` it
 * answers each request with that error.
 */
export interface Authenticate {
  (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void
  /** Without `done`; that it is named here keeps hooks with a payload in its place from fitting. */
  (request: FastifyRequest, reply: FastifyReply, done?: undefined): Promise<void>
  with (variant: AuthenticateVariant): Authenticate
}

declare module 'fastify' {
  interface FastifyInstance {
    authenticate: Authenticate
    tokenAuth: TokenAuth
  }
  interface FastifyRequest {
    /** Whose token it is; `null` on routes that don't authenticate. Deep-frozen with `cache.near`. */
    user: AuthenticatedUser | null
    /** The token's session; `null` on routes that don't authenticate. */
    auth: AuthSession | null
  }
}
