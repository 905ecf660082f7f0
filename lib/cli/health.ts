import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifySchema } from 'fastify'

const Health = (description: string) => Type.Object({
  database: Type.Union([Type.Literal('up'), Type.Literal('down')]),
  cache: Type.Union(['up', 'down', 'catching-up', 'in-process'].map((state) => Type.Literal(state)))
}, { description })

const Refusal = Type.Object({
  statusCode: Type.Integer(),
  error: Type.String(),
  message: Type.String()
}, { description: 'Not a request that HTTP allows, such as one with too many headers' })

/** GET /health: 503 without the database, which nothing goes without; the cache may be away. */
export function healthRoute (app: FastifyInstance): void {
  const schema = {
    operationId: 'getHealth',
    summary: 'Whether the server can serve',
    tags: ['service'],
    security: [],
    response: { 200: Health('It can'), '4xx': Refusal, 503: Health('It cannot: the database is away') }
  }
  app.get('/health', { schema: schema as FastifySchema, logLevel: 'warn' }, async (_request, reply) => {
    const health = await app.tokenAuth.health()
    return await reply.code(health.database === 'up' ? 200 : 503).send(health)
  })
}
