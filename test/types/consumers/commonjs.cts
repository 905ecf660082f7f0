import Fastify = require('fastify')

async function start (): Promise<void> {
  const { authPlugin, authenticate, requireUser } = await import('fastify-token-auth')
  const app = Fastify()
  await app.register(authPlugin, { database: {} })
  app.get('/', { onRequest: authenticate }, async (request) => requireUser(request).username)
}
start()
