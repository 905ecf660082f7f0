import type { FastifyPluginAsync } from 'fastify'
import { setErrorHeaders } from '../hooks/error-headers.js'
import { prefixed } from '../schemas/operation-ids.js'
import { createPublish } from '../schemas/publish.js'
import { strictBodies } from '../hooks/strict-bodies.js'
import { changePasswordRoute } from './change-password.js'
import type { RouteSettings } from './request.js'
import { loginRoute } from './login.js'
import { logoutRoute } from './logout.js'
import { logoutAllRoute } from './logout-all.js'
import { meRoute } from './me.js'
import { sessionsRoutes } from './sessions.js'

/** The plugin's routes, in one scope of their own. */
export const routes: FastifyPluginAsync<RouteSettings> = async (scope, settings) => {
  const { operationIdPrefix, tags } = settings.openapi
  const publish = createPublish(settings.openapi)
  strictBodies(scope)
  scope.addHook('onSend', async (_request, reply) => { reply.header('cache-control', 'no-store') })
  const registered = settings.errorHandler()
  scope.addHook('onRoute', (route) => {
    // The handler is read for each request, because the application may set it after the plugin. If it has not, the error is thrown again, and
    // Fastify calls the handler itself. A value that is no error must not be thrown: Fastify would send it as a success.
    route.errorHandler = (error, request, reply) => {
      setErrorHeaders(reply, error, settings.challenge)
      const current = settings.errorHandler()
      if (current === registered && error instanceof Error) throw error
      return current(error, request, reply)
    }
    route.config = Object.assign({ ...route.config }, { swaggerTransform: publish })
    const { operationId } = route.schema as { operationId: string }
    route.schema = Object.assign({ ...route.schema }, { operationId: prefixed(operationIdPrefix, operationId), tags })
  })
  for (const register of [loginRoute, logoutRoute, logoutAllRoute, changePasswordRoute, meRoute, sessionsRoutes]) register(scope, settings)
}
