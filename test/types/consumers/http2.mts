import Fastify from 'fastify'
import authPlugin, { authenticate, requireUser } from 'fastify-token-auth'

const app = Fastify({ http2: true, https: { key: '', cert: '' } })
await app.register(authPlugin, { database: {} })
app.get('/secure', { onRequest: app.authenticate }, async (request) => requireUser(request))
app.get('/imported', { preHandler: [authenticate] }, async (request) => request.user)
app.addHook('onRequest', app.authenticate)

const plain = Fastify({ http2: true })
await plain.register(authPlugin, { database: {} })
plain.get('/plain', { onRequest: plain.authenticate.with({ optional: true }) }, async () => '')
