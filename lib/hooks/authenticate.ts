import type { FastifyReply, FastifyRequest } from 'fastify'
import { INVALID_TOKEN, UNAUTHENTICATED } from '../errors.js'
import type { AuthEvents } from '../../types/events.js'
import type { Authenticate, AuthenticateVariant } from '../../types/fastify.js'
import type { TokenRecord } from '../ports.js'
import { missingScope } from '../tools/scopes.js'
import type { Digest } from '../../types/cache.js'
import type { AuthenticatedUser, AuthSession } from '../../types/user.js'
import type { ReadDigest } from './authorization.js'
import { contained } from './contained.js'
import type { Done } from './contained.js'
import { setErrorHeaders } from './error-headers.js'
import { isGuardCall, refuseCall } from './placement.js'
import { readVariant } from './variant.js'

export interface AuthenticateSettings {
  challenge: string
  /** The names of the request decorators. */
  decorators: { user: string, auth: string }
  readDigest: ReadDigest
  lookup (digest: Digest, done: (error: Error | null, record: TokenRecord | null) => void): void
  lookupFresh (digest: Digest): Promise<TokenRecord | null>
  noteUse (record: TokenRecord): void
  /** Called for each refused token; with its `record` if the token is live. */
  onRefused (reason: Refusal, request: FastifyRequest, record: TokenRecord | null): void
}

type Refusal = AuthEvents['tokenRefused']['reason']

const made = new WeakMap<object, AuthenticateVariant>()
const makers = new WeakSet<object>()

/** Makes a hook an `authenticate` of this variant, which is known as such. `make`: its method `with`. */
export function asGuard (hook: Omit<Authenticate, 'with'>, variant: AuthenticateVariant, make: Authenticate['with']): Authenticate {
  made.set(hook, variant)
  makers.add(make)
  return Object.assign(hook, { with: make }) as Authenticate
}

/** The variant of an `authenticate`; `undefined` for any other hook. */
export function variantOf (hook: unknown): AuthenticateVariant | undefined {
  return typeof hook === 'function' ? made.get(hook) : undefined
}

/** Whether it is an `authenticate`, or a variant of one. */
export function isAuthenticate (value: unknown): boolean {
  return variantOf(value) !== undefined
}

/** Whether it is the method `with` of an `authenticate`, instead of what that returns. */
export function isUncalledWith (value: unknown): boolean {
  return typeof value === 'function' && makers.has(value)
}

/**
 * Creates the hook. It answers by callback, so that a cached token creates no promise here;
 * called without a callback it returns a promise.
 */
export function createAuthenticate (settings: AuthenticateSettings): Authenticate {
  function variant (options: AuthenticateVariant): Authenticate {
    const check = createCheck(settings, options)
    function authenticate (request: FastifyRequest, reply: FastifyReply, done?: Done): void | Promise<void> {
      if (!isGuardCall(arguments)) return refuseCall(arguments)
      if (done !== undefined) return check(request, reply, done)
      return new Promise((resolve, reject) => check(request, reply, (error) => error === undefined ? resolve() : reject(error)))
    }
    return asGuard(authenticate as Omit<Authenticate, 'with'>, options, (further) => variant({ ...options, ...readVariant(further) }))
  }
  return variant({})
}

function createCheck (settings: AuthenticateSettings, { optional = false, fresh = false, scopes = [] }: AuthenticateVariant) {
  const { challenge, decorators, readDigest, noteUse, onRefused } = settings
  const lookup = fresh ? byCallback(settings.lookupFresh) : settings.lookup

  function judge (request: FastifyRequest, record: TokenRecord | null): Error | undefined {
    if (record === null) return refused(request, 'not_live', new INVALID_TOKEN())
    const missing = missingScope(record, scopes)
    if (missing !== undefined) return refused(request, 'insufficient_scope', missing, record)
    accept(request, record, decorators)
    noteUse(record)
    return undefined
  }

  function refused (request: FastifyRequest, reason: Refusal, error: Error, record: TokenRecord | null = null): Error {
    onRefused(reason, request, record)
    return error
  }

  function withHeaders (reply: FastifyReply, error: Error | undefined): Error | undefined {
    if (error !== undefined) setErrorHeaders(reply, error, challenge)
    return error
  }

  return function check (request: FastifyRequest, reply: FastifyReply, done: Done): void {
    const refuse = (error: Error) => done(withHeaders(reply, error))
    forget(request, decorators)
    let digest: Digest | null
    try {
      digest = readDigest(request)
    } catch (error) {
      return refuse(error as Error)
    }
    if (digest === null) return optional ? done() : refuse(new UNAUTHENTICATED())
    lookup(digest, (error, record) => contained(reply, () => withHeaders(reply, error ?? judge(request, record)), done))
  }
}

type Names = AuthenticateSettings['decorators']
type Decorated = Record<string, AuthenticatedUser | AuthSession | null>

function forget (request: FastifyRequest, names: Names): void {
  const decorated = request as unknown as Decorated
  decorated[names.user] = null
  decorated[names.auth] = null
}

function accept (request: FastifyRequest, { user, sessionId, issuedAtMs, expiresAtMs, scopes }: TokenRecord, names: Names): void {
  const decorated = request as unknown as Decorated
  decorated[names.user] = user
  decorated[names.auth] = { sessionId, createdAt: new Date(issuedAtMs), expiresAt: new Date(expiresAtMs), scopes }
}

function byCallback (lookupFresh: AuthenticateSettings['lookupFresh']): AuthenticateSettings['lookup'] {
  return (digest, done) => { lookupFresh(digest).then((record) => done(null, record), (error) => done(error, null)) }
}
