import type { FastifyRequest } from 'fastify'
import type { AuthenticatedUser, AuthSession, FastifyTokenAuth } from './user.js'
import type { TokenAuth } from './token-auth.js'

/** A request of any server: HTTP, HTTPS or HTTP/2. */
export type AnyRequest = FastifyRequest<any, any, any, any, any, any, any, any>
/**
 * What the hook's type says of a request and a reply: a part that those of every server have. With their whole types Fastify would infer the
 * types of a route from the hook, and no longer from its schema.
 */
export interface HookRequest { readonly id: string, readonly headers: object, readonly raw: object }
/** See `HookRequest`. */
export interface HookReply { header (name: string, value: any): unknown }

export interface AuthenticateVariant {
  /** Requests without a token pass, with `request.user` null. A token that is sent must be valid. */
  optional?: boolean
  /** Looks the token up in PostgreSQL, not in a cache: for sensitive routes. */
  fresh?: boolean
  /**
   * Scopes that a token with scopes must have, otherwise 403 `FST_TOKEN_AUTH_INSUFFICIENT_SCOPE`; `'any'` accepts every token. Default: a
   * token with scopes is refused. The token of a login has no scopes and passes in any case.
   */
  scopes?: readonly string[] | 'any'
}

/**
 * A hook for `onRequest`, `preValidation` and `preHandler`, and for `@fastify/auth`; or call it: `await app.authenticate(request, reply)`.
 * In any other hook of a route it is a type error, and throws `FST_TOKEN_AUTH_INVALID_OPTION` when the route is registered. Added to any
 * other hook with `addHook`, it answers each request with that error.
 */
export interface Authenticate {
  (request: HookRequest, reply: HookReply, done: (error?: Error) => void): void
  /** Without `done`. The parameter is declared so that hooks with a payload in its place do not match. */
  (request: HookRequest, reply: HookReply, done?: undefined): Promise<void>
  with (variant: AuthenticateVariant): Authenticate
}

interface InstanceDecorators {
  authenticate: Authenticate
  tokenAuth: TokenAuth
}

interface RequestDecorators {
  /** The user of the token; `null` on routes that do not authenticate. Deeply frozen with `cache.near`, and without Redis. */
  user: AuthenticatedUser | null
  /** The session of the token; `null` on routes that do not authenticate. */
  auth: AuthSession | null
}

/** The decorators under the names that `FastifyTokenAuth.Decorators` gives them. */
type Renamed<Decorators> = {
  [Name in keyof Decorators as FastifyTokenAuth.Decorators extends Record<Name, infer Given extends string> ? Given : Name]: Decorators[Name]
}

declare module 'fastify' {
  interface FastifyInstance extends Renamed<InstanceDecorators> {}
  interface FastifyRequest extends Renamed<RequestDecorators> {}
}
