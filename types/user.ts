/**
 * What a host adds to `request.user`, by declaration merging:
 *
 * ```ts
 * declare module 'fastify-token-auth' {
 *   namespace FastifyTokenAuth {
 *     interface User { id: number, email: string }
 *   }
 * }
 * ```
 */
export namespace FastifyTokenAuth {
  export interface User {}
}

/** Ids as PostgreSQL's driver hands them over: `integer` is a number, `bigint` and `uuid` are strings. */
export type UserId = string | number

/** The fields every user has; a host may narrow them in `FastifyTokenAuth.User`. */
export interface BaseUser {
  id: UserId
  username: string
}

/** The value of `request.user`: the base fields and whatever `FastifyTokenAuth.User` adds. */
export type AuthenticatedUser = Omit<BaseUser, keyof FastifyTokenAuth.User> & FastifyTokenAuth.User

/** The value of `request.auth`: facts of the session, never the token. */
export interface AuthSession {
  sessionId: string
  createdAt: Date
  expiresAt: Date
  /** `null`: a login's token, which may do whatever its user may. */
  scopes: readonly string[] | null
}

/** One row of `GET /sessions`. */
export interface Session {
  id: string
  createdAt: Date
  lastUsedAt: Date
  expiresAt: Date
  ip: string | null
  userAgent: string | null
  label: string | null
  scopes: readonly string[] | null
}
