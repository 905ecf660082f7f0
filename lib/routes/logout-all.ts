import type { FastifyInstance } from 'fastify'
import { errorReplies, NoContent } from '../schemas/models.js'
import { documented, eventOriginOf } from './request.js'
import type { RouteSettings } from './request.js'

/** POST /logout-all. */
export function logoutAllRoute (scope: FastifyInstance, { sessions, requireDigest }: RouteSettings): void {
  scope.post('/logout-all', {
    schema: documented('logoutAll', 'End every session of the user, including this one', {
      response: { 204: NoContent, ...errorReplies(400, 401, 403, 413, 415, 503) }
    })
  }, async (request, reply) => {
    await sessions.logoutAll(requireDigest(request), eventOriginOf(request))
    return await reply.code(204).send()
  })
}
