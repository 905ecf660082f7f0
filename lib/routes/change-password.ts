import type { Static } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { ChangePasswordBody, errorReplies, Grant } from '../schemas/models.js'
import { documented, originOf, replyOf } from './request.js'
import type { RouteSettings } from './request.js'

/** POST /change-password. */
export function changePasswordRoute (scope: FastifyInstance, { passwords, manage, callerOf }: RouteSettings): void {
  scope.post<{ Body: Static<typeof ChangePasswordBody> }>('/change-password', {
    onRequest: manage.with({ fresh: true }),
    schema: documented('changePassword', 'Change the password, end every session and start a new one', {
      body: ChangePasswordBody,
      response: { 200: Grant, ...errorReplies(400, 401, 403, 413, 415, 429, 503) }
    })
  }, async (request) => {
    const { user, auth } = callerOf(request)
    return replyOf(await passwords.change({ userId: user.id, sessionId: auth.sessionId, ...request.body, origin: originOf(request) }))
  })
}
