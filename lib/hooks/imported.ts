import type { FastifyReply, FastifyRequest } from 'fastify'
import { NOT_REGISTERED, UNAUTHENTICATED } from '../errors.js'
import type { AnyRequest, Authenticate, AuthenticateVariant } from '../../types/fastify.js'
import type { AuthenticatedUser } from '../../types/user.js'
import { asGuard } from './authenticate.js'
import type { Done } from './contained.js'
import { isGuardCall, refuseCall } from './placement.js'
import { registrationsOf } from './registrations.js'
import { readVariant } from './variant.js'

/**
 * The hook `fastify.authenticate` as an import. It finds the plugin when a request arrives, so a route may be declared before the plugin has
 * loaded. A route is never public by accident: without the plugin in the route's scope, each request is answered with 500
 * `FST_TOKEN_AUTH_NOT_REGISTERED`, as with several registrations in one scope.
 */
export const authenticate: Authenticate = importedVariant((request) => registeredOnce(request).authenticate, {})

/**
 * The user of an authenticated request, never `null`. Use it in handlers of routes that `authenticate` protects.
 * @throws `FST_TOKEN_AUTH_UNAUTHENTICATED` if the request has no user: the route has no `authenticate`, or an optional one and no token was
 * sent; `FST_TOKEN_AUTH_NOT_REGISTERED`
 */
export function requireUser (request: AnyRequest): AuthenticatedUser {
  const users = registrationsOf(request).map(({ user }) => (request as unknown as Record<string, AuthenticatedUser | null>)[user]).filter((user) => user !== null)
  if (users.length > 1) throw new NOT_REGISTERED('requireUser() found the users of several registrations: read the one you need from its decorator')
  const [user] = users
  if (user === undefined) throw new UNAUTHENTICATED()
  return user as AuthenticatedUser
}

function importedVariant (find: (request: FastifyRequest) => Authenticate, options: AuthenticateVariant): Authenticate {
  function authenticate (request: FastifyRequest, reply: FastifyReply, done?: Done): void | Promise<void> {
    if (!isGuardCall(arguments.length, arguments[1])) return refuseCall(arguments)
    if (done === undefined) return callAsync(find, request, reply)
    let hook: Authenticate
    try {
      hook = find(request)
    } catch (error) {
      return done(error as Error)
    }
    hook(request, reply, done)
  }
  return asGuard(authenticate as Omit<Authenticate, 'with'>, options, (variant) => importedVariant(keptVariant(find, readVariant(variant)), { ...options, ...variant }))
}

async function callAsync (find: (request: FastifyRequest) => Authenticate, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  await find(request)(request, reply)
}

/** Finds the variant of a registration, made at its first request. */
function keptVariant (find: (request: FastifyRequest) => Authenticate, variant: AuthenticateVariant): (request: FastifyRequest) => Authenticate {
  const made = new WeakMap<Authenticate, Authenticate>()
  return (request) => {
    const base = find(request)
    const known = made.get(base) ?? base.with(variant)
    made.set(base, known)
    return known
  }
}

function registeredOnce (request: FastifyRequest) {
  const [registration, ...others] = registrationsOf(request)
  if (others.length > 0) throw new NOT_REGISTERED('fastify-token-auth is registered more than once in this scope: use the decorator of one registration instead of the imported authenticate')
  return registration!
}
