import type { FastifyInstance } from 'fastify'
import { Type } from '@sinclair/typebox'
import type { Static } from '@sinclair/typebox'
import { errorReplies, Instant, User } from '../schemas/models.js'
import { documented } from './request.js'
import type { RouteSettings } from './request.js'

const Me = Type.Object({
  user: User,
  session: Type.Object({
    id: Type.String({ format: 'uuid' }),
    createdAt: Instant('When the session began'),
    expiresAt: Instant('When the session expires'),
    scopes: Type.Union([Type.Array(Type.String()), Type.Null()], { description: 'null: the token may do everything that its user may' })
  })
}, { description: 'The current user and session' })

/** GET /me. */
export function meRoute (scope: FastifyInstance, { authenticate, callerOf }: RouteSettings): void {
  scope.get('/me', {
    onRequest: authenticate.with({ scopes: 'any' }),
    schema: documented('getMe', 'The user and session of the token', {
      response: { 200: Me, ...errorReplies(400, 401, 503) }
    })
  }, async (request): Promise<Static<typeof Me>> => {
    const { user, auth: { sessionId, createdAt, expiresAt, scopes } } = callerOf(request)
    return { user, session: { id: sessionId, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString(), scopes: scopes as string[] | null } }
  })
}
