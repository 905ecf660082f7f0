import type { FastifyReply, FastifyRequest } from 'fastify'
import { digestOf } from '../crypto/token.js'
import type { TokenFormat } from '../crypto/token.js'
import { INVALID_TOKEN, UNAUTHENTICATED } from '../errors.js'
import type { AuthEvents } from '../../types/events.js'
import type { Authenticate, AuthenticateVariant } from '../../types/fastify.js'
import type { TokenRecord } from '../ports.js'
import { missingScope } from '../tools/scopes.js'
import type { Digest } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import type { Accepted } from './accepted.js'
import type { ReadToken } from './authorization.js'
import { contained, finish } from './contained.js'
import type { Done } from './contained.js'
import { setErrorHeaders } from './error-headers.js'
import { isGuardCall, refuseCall } from './placement.js'
import { readVariant } from './variant.js'

export interface AuthenticateSettings {
  challenge: string
  readToken: ReadToken
  format: Pick<TokenFormat, 'hasLength' | 'isWellFormed'>
  /** What is in memory: the live token, `null` for one that has ended, `undefined` for one that must be looked up. */
  peek (digest: Digest, nowMs: number): TokenRecord | null | undefined
  lookup (digest: Digest, done: (error: Error | null, record: TokenRecord | null) => void): void
  lookupFresh (digest: Digest): Promise<TokenRecord | null>
  accepted: Pick<Accepted, 'accept' | 'forget'>
  noteUse (record: TokenRecord, nowMs: number): void
  now: Now
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
      if (!isGuardCall(arguments.length, reply)) return refuseCall(arguments)
      if (done !== undefined) return check(request, reply, done)
      return new Promise((resolve, reject) => check(request, reply, (error) => error === undefined ? resolve() : reject(error)))
    }
    return asGuard(authenticate as Omit<Authenticate, 'with'>, options, (further) => variant({ ...options, ...readVariant(further) }))
  }
  return variant({})
}

const NOT_IN_MEMORY = () => undefined

// The order of the steps is for speed: a token in memory needs no check of its form, since its digest is that of a token which was issued.
function createCheck (settings: AuthenticateSettings, { optional = false, fresh = false, scopes = [] }: AuthenticateVariant) {
  const { challenge, readToken, format, noteUse, now, onRefused, accepted: { accept, forget } } = settings
  const [peek, lookup] = fresh ? [NOT_IN_MEMORY, byCallback(settings.lookupFresh)] : [settings.peek, settings.lookup]

  function judge (request: FastifyRequest, record: TokenRecord | null, nowMs: number): Error | undefined {
    if (record === null) return refused(request, 'not_live', new INVALID_TOKEN())
    const missing = missingScope(record, scopes)
    if (missing !== undefined) return refused(request, 'insufficient_scope', missing, record)
    accept(request, record)
    noteUse(record, nowMs)
    return undefined
  }

  function refused (request: FastifyRequest, reason: Refusal, error: Error, record: TokenRecord | null = null): Error {
    forget(request)
    onRefused(reason, request, record)
    return error
  }

  function withHeaders (reply: FastifyReply, error: Error | undefined): Error | undefined {
    if (error !== undefined) setErrorHeaders(reply, error, challenge)
    return error
  }

  // A token of another length costs no digest.
  function find (request: FastifyRequest, reply: FastifyReply, token: string, done: Done): void {
    const digest = format.hasLength(token) ? digestOf(token) : null
    const nowMs = now()
    const known = digest === null ? undefined : peek(digest, nowMs)
    if (known !== undefined) return finish(reply, withHeaders(reply, judge(request, known, nowMs)), done)
    if (digest === null || !format.isWellFormed(token)) return done(withHeaders(reply, refused(request, 'malformed', new INVALID_TOKEN())))
    forget(request)
    lookup(digest, (error, record) => contained(reply, () => withHeaders(reply, error ?? judge(request, record, now())), done))
  }

  return function check (request: FastifyRequest, reply: FastifyReply, done: Done): void {
    let token: string | null
    try {
      token = readToken(request)
    } catch (error) {
      forget(request)
      return done(withHeaders(reply, error as Error))
    }
    if (token !== null) return find(request, reply, token, done)
    forget(request)
    done(optional ? undefined : withHeaders(reply, new UNAUTHENTICATED()))
  }
}

function byCallback (lookupFresh: AuthenticateSettings['lookupFresh']): AuthenticateSettings['lookup'] {
  return (digest, done) => { lookupFresh(digest).then((record) => done(null, record), (error) => done(error, null)) }
}
