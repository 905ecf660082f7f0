import type { FastifyInstance } from 'fastify'
import type { TokenRecord } from '../ports.js'
import type { AuthSession } from '../../types/user.js'

/** The names of the request decorators. */
export interface RequestNames { user: string, auth: string }

/** What the hook leaves on a request. */
export interface Accepted {
  /** Adds the decorators of requests. */
  decorate (fastify: FastifyInstance): void
  accept (request: object, record: TokenRecord): void
  forget (request: object): void
}

type Decorated = Record<PropertyKey, unknown>

/** `request.auth` is made when it is read: most handlers need only the user. Its two dates cost as much as all the rest of a hit in memory. */
export function createAccepted ({ user, auth }: RequestNames): Accepted {
  const recordOf = Symbol('the record of the token')
  const sessionOf = Symbol('the session of the token')

  function set (request: object, record: TokenRecord | null): void {
    const decorated = request as Decorated
    decorated[user] = record === null ? null : record.user
    decorated[recordOf] = record
    decorated[sessionOf] = null
  }

  function get (this: object): AuthSession | null {
    const decorated = this as Decorated
    const record = decorated[recordOf] as TokenRecord | null
    if (record === null) return null
    return (decorated[sessionOf] ??= toSession(record)) as AuthSession
  }

  return {
    decorate (fastify) {
      fastify.decorateRequest(user, null)
      for (const slot of [recordOf, sessionOf]) fastify.decorateRequest(slot, null)
      fastify.decorateRequest(auth, { getter: get })
    },
    accept: set,
    forget: (request) => set(request, null)
  }
}

function toSession ({ sessionId, issuedAtMs, expiresAtMs, scopes }: TokenRecord): AuthSession {
  return { sessionId, createdAt: new Date(issuedAtMs), expiresAt: new Date(expiresAtMs), scopes }
}
