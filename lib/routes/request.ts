import type { FastifyError, FastifyReply, FastifyRequest, FastifySchema, onRequestHookHandler } from 'fastify'
import type { Static } from '@sinclair/typebox'
import { clientAddress } from '../tools/client-address.js'
import type { Grant } from '../schemas/models.js'
import { NEEDS_TOKEN } from '../schemas/openapi.js'
import type { PublishSettings } from '../schemas/publish.js'
import type { Authenticate } from '../../types/fastify.js'
import type { Digest } from '../../types/cache.js'
import type { TokenGrant } from '../../types/token-auth.js'
import type { AuthSession, AuthenticatedUser } from '../../types/user.js'
import type { EventOrigin, Origin } from '../services/tokens.js'
import type { LoginService } from '../services/login.js'
import type { PasswordService } from '../services/passwords.js'
import type { SessionService } from '../services/sessions.js'

/** The routes' services and hooks. A route knows no store. */
export interface RouteSettings {
  challenge: string
  openapi: PublishSettings
  captcha: 'never' | 'always' | 'after-failures'
  authenticate: Authenticate
  /** Guards routes that manage the account: a token with scopes needs the scope `auth`. */
  manage: Authenticate
  ipLimit: onRequestHookHandler | null
  callerOf (request: FastifyRequest): Caller
  /** The application's error handler at the time of the call. */
  errorHandler (): (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => unknown
  /** The digest of the request's token, live or not. @throws `FST_TOKEN_AUTH_UNAUTHENTICATED`, `FST_TOKEN_AUTH_INVALID_TOKEN` */
  requireDigest (request: FastifyRequest): Digest
  login: LoginService
  passwords: PasswordService
  sessions: SessionService
}

/** A route's schema with the fields that @fastify/swagger reads; its types are not needed to compile. */
export function documented (operationId: string, summary: string, { security = NEEDS_TOKEN, ...schema }: FastifySchema & { security?: object[] }): FastifySchema {
  return { operationId, summary, security, ...schema } as FastifySchema
}

const USER_AGENT_LENGTH = 512
/** Characters that a header may contain, but that some database encodings cannot store. */
const NOT_ASCII = /[^ -~]/g

/** The origin of the request, as it is stored with a session. */
export function originOf (request: FastifyRequest): Origin {
  return {
    ip: clientAddress(request.ip),
    userAgent: request.headers['user-agent']?.slice(0, USER_AGENT_LENGTH).replaceAll(NOT_ASCII, '?') ?? null,
    requestId: request.id
  }
}

/** The same for events, which have no user agent. */
export function eventOriginOf (request: FastifyRequest): EventOrigin {
  return { ip: clientAddress(request.ip), requestId: request.id }
}

/** The reply with a new token: the fields of its schema, and no more. */
export function replyOf ({ token, expiresAt, user }: TokenGrant): Static<typeof Grant> {
  return { token, expiresAt: expiresAt.toISOString(), user }
}

export interface Caller { user: AuthenticatedUser, auth: AuthSession }

/** Reads user and session of an authenticated request from the decorators of these names. */
export function createCallerOf (names: { user: string, auth: string }): (request: FastifyRequest) => Caller {
  return (request) => {
    const { [names.user]: user, [names.auth]: auth } = request as unknown as Record<string, unknown>
    return { user, auth } as Caller
  }
}
