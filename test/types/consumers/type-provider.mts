import Fastify from 'fastify'
import type { FastifyTypeProvider } from 'fastify'
import authPlugin, { authenticate } from 'fastify-token-auth'

/** As the type providers of Zod and TypeBox do: the types of a request come from the schema of its route. */
interface Provider extends FastifyTypeProvider {
  validator: this['schema'] extends { type: infer Type } ? Type : unknown
}

const page = { type: { page: 1 } }
const app = Fastify().withTypeProvider<Provider>()
await app.register(authPlugin, { database: {} })
const onRequest = app.authenticate
app.get('/plain', { schema: { querystring: page } }, async (request) => request.query.page + 1)
app.get('/decorator', { onRequest, schema: { querystring: page } }, async (request) => request.query.page + 1)
app.get('/variant', { onRequest: onRequest.with({ fresh: true }), schema: { querystring: page } }, async (request) => request.query.page + 1)
app.post('/imported', { onRequest: authenticate, schema: { body: page } }, async (request) => request.body.page + 1)
app.post('/list', { onRequest: [onRequest], schema: { body: page } }, async (request) => request.body.page + 1)
app.post('/handler', { preHandler: onRequest, schema: { body: page, params: page } }, async (request) => request.params.page + request.body.page)
app.route({ method: 'GET', url: '/route', onRequest, schema: { querystring: page }, handler: async (request) => request.query.page + 1 })
