import type { FastifyInstance } from 'fastify'
import { errorReplies, NoContent } from '../schemas/models.js'
import { documented, eventOriginOf } from './request.js'
import type { RouteSettings } from './request.js'

/** POST /logout. A token that is already revoked gets the same answer, so that a retry is safe (RFC 7009 2.2). */
export function logoutRoute (scope: FastifyInstance, { sessions, requireDigest }: RouteSettings): void {
  scope.post('/logout', {
    schema: documented('logout', 'End this session', {
      response: { 204: NoContent, ...errorReplies(400, 401, 413, 415, 503) }
    })
  }, async (request, reply) => {
    await sessions.logout(requireDigest(request), eventOriginOf(request))
    return await reply.code(204).send()
  })
}
