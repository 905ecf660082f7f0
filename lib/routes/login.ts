import type { Static } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { errorReplies, Grant, LOGIN_BODIES } from '../schemas/models.js'
import { documented, originOf, replyOf } from './request.js'
import type { RouteSettings } from './request.js'

/** POST /login. It never authenticates: a token in the header has no effect. */
export function loginRoute (scope: FastifyInstance, { login, ipLimit, captcha }: RouteSettings): void {
  scope.post<{ Body: Static<typeof LOGIN_BODIES['after-failures']> }>('/login', {
    ...(ipLimit === null ? {} : { onRequest: ipLimit }),
    schema: documented('login', 'Start a session with username and password', {
      security: [],
      body: LOGIN_BODIES[captcha],
      response: { 200: Grant, ...errorReplies(400, 401, 403, 413, 415, 429, 503) }
    })
  }, async (request) => replyOf(await login.login({ ...request.body, origin: originOf(request) })))
}
