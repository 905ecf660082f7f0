// The route without authentication: what every other contestant is compared with.
import Fastify from 'fastify'

export async function start () {
  const app = Fastify()
  app.get('/me', async () => ({ username: 'alice' }))
  return { app, headers: ['x-bench: bare'] }
}
