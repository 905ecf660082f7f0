import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import authPlugin, { requireUser } from 'fastify-token-auth'

declare module 'fastify-token-auth' {
  namespace FastifyTokenAuth {
    interface Decorators { user: 'account', authenticate: 'authenticateToken' }
  }
}
declare module 'fastify' {
  interface FastifyInstance { authenticate (request: FastifyRequest): Promise<void> }
}

const app = Fastify()
await app.register(jwt, { secret: 'a secret' })
app.decorate('authenticate', async (request) => { await request.jwtVerify() })
await app.register(authPlugin, { database: {}, decorators: { user: 'account', authenticate: 'authenticateToken' } })
app.get('/jwt', { onRequest: app.authenticate }, async (request) => request.user)
app.get('/token', { onRequest: app.authenticateToken.with({ fresh: true }) }, async (request) => {
  const name: string | undefined = request.account?.username
  return { name, id: requireUser(request).id }
})
