/**
 * What your application declares by merging: the fields that it adds to `request.user`, and the names of renamed decorators.
 *
 * ```ts
 * declare module 'fastify-token-auth' {
 *   namespace FastifyTokenAuth {
 *     interface User { id: number, email: string }
 *     interface Decorators { user: 'account' }
 *   }
 * }
 * ```
 */
export namespace FastifyTokenAuth {
  export interface User {}
  /** The names of the option `decorators`, as string literal types. */
  export interface Decorators {}
}

/** Ids as PostgreSQL's driver returns them: `integer` is a number, `bigint` and `uuid` are strings. */
export type UserId = string | number

/** The fields of every user; narrow them in `FastifyTokenAuth.User`. */
export interface BaseUser {
  id: UserId
  username: string
}

/** The value of `request.user`: the base fields and whatever `FastifyTokenAuth.User` adds. */
export type AuthenticatedUser = Omit<BaseUser, keyof FastifyTokenAuth.User> & FastifyTokenAuth.User

/** The value of `request.auth`: the session, without the token. */
export interface AuthSession {
  sessionId: string
  createdAt: Date
  expiresAt: Date
  /** `null`: a token from a login, which may do everything its user may. */
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
