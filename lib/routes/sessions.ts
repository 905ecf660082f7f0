import type { FastifyInstance } from 'fastify'
import { Type } from '@sinclair/typebox'
import type { Static } from '@sinclair/typebox'
import { errorReplies, NoContent, SessionEntry } from '../schemas/models.js'
import type { Session } from '../../types/user.js'
import { documented } from './request.js'
import type { RouteSettings } from './request.js'

const SessionList = Type.Object({ sessions: Type.Array(SessionEntry) }, { description: 'The user\'s live sessions, the most recently used first' })
const SessionParams = Type.Object({ id: Type.String({ description: 'A session\'s id, never its token' }) })

function toEntry ({ createdAt, lastUsedAt, expiresAt, scopes, ...session }: Session, current: boolean): Static<typeof SessionEntry> {
  const times = { createdAt: createdAt.toISOString(), lastUsedAt: lastUsedAt.toISOString(), expiresAt: expiresAt.toISOString() }
  return { ...session, ...times, scopes: scopes as string[] | null, current }
}

/** GET /sessions and DELETE /sessions/:id. */
export function sessionsRoutes (scope: FastifyInstance, { sessions, manage, callerOf }: RouteSettings): void {
  scope.get('/sessions', {
    onRequest: manage,
    schema: documented('listSessions', 'The user\'s sessions', {
      response: { 200: SessionList, ...errorReplies(400, 401, 403, 503) }
    })
  }, async (request): Promise<Static<typeof SessionList>> => {
    const { user, auth } = callerOf(request)
    const list = await sessions.list(user.id)
    return { sessions: list.map((session) => toEntry(session, session.id === auth.sessionId)) }
  })

  // Revoking routes look the token up in SQL, not in a cache.
  scope.delete<{ Params: Static<typeof SessionParams> }>('/sessions/:id', {
    onRequest: manage.with({ fresh: true }),
    schema: documented('deleteSession', 'End one session of the user', {
      params: SessionParams,
      response: { 204: NoContent, ...errorReplies(400, 401, 403, 404, 413, 415, 503) }
    })
  }, async (request, reply) => {
    await sessions.end(callerOf(request).user.id, request.params.id, request.id)
    return await reply.code(204).send()
  })
}
