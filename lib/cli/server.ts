import { Type } from '@sinclair/typebox'
import type fastify from 'fastify'
import type { FastifyInstance, FastifySchema } from 'fastify'
import type swagger from '@fastify/swagger'
import type swaggerUi from '@fastify/swagger-ui'
import { authPlugin } from '../plugin.js'
import { openapi } from '../schemas/openapi.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { TrustProxy } from './environment.js'
import { importPeer, version } from './packages.js'

const Health = (description: string) => Type.Object({
  database: Type.Union([Type.Literal('up'), Type.Literal('down')]),
  cache: Type.Union(['up', 'down', 'catching-up', 'in-process'].map((state) => Type.Literal(state)))
}, { description })

const BadRequest = Type.Object({
  statusCode: Type.Integer(),
  error: Type.String(),
  message: Type.String()
}, { description: 'Not a valid HTTP request, for example one with too many headers' })

const HEALTH_SCHEMA = {
  operationId: 'getHealth',
  summary: 'Whether the server can serve requests',
  tags: ['service'],
  security: [],
  response: { 200: Health('The server works'), '4xx': BadRequest, 503: Health('It cannot: the database is down') }
}

export interface ServerSettings {
  auth: AuthPluginOptions
  trustProxy: TrustProxy
  logLevel: string
  logs: { write (line: string): unknown }
}

/** The server of `serve`: the plugin, `/health`, and the OpenAPI document with its pages at `/docs`. */
export async function createServer ({ auth, trustProxy, logLevel, logs }: ServerSettings): Promise<FastifyInstance> {
  const { default: Fastify } = await importPeer<{ default: typeof fastify }>('fastify')
  const app = Fastify({ trustProxy, logger: { level: logLevel, stream: logs } }) as unknown as FastifyInstance
  try {
    await registerDocs(app)
    await app.register(authPlugin, auth)
    healthRoute(app)
    await app.ready()
    return app
  } catch (error) {
    await app.close().catch(() => {})
    throw error
  }
}

// Must come before the routes: @fastify/swagger sees only routes that are registered after it.
async function registerDocs (app: FastifyInstance): Promise<void> {
  const { default: plugin } = await importPeer<{ default: typeof swagger }>('@fastify/swagger')
  const { default: pages } = await importPeer<{ default: typeof swaggerUi }>('@fastify/swagger-ui')
  const { tags, components } = openapi()
  await app.register(plugin, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'fastify-token-auth',
        description: 'Login with tokens that can be revoked',
        version,
        license: { name: 'MIT', identifier: 'MIT' }
      },
      servers: [{ url: '/', description: 'This server' }],
      tags: [...tags, { name: 'service', description: 'The state of the server' }],
      components
    }
  })
  await app.register(pages, { routePrefix: '/docs' })
}

/** GET /health: 503 without the database, which every request needs. The cache may be down. */
function healthRoute (app: FastifyInstance): void {
  app.get('/health', { schema: HEALTH_SCHEMA as FastifySchema, logLevel: 'warn' }, async (_request, reply) => {
    const health = await app.tokenAuth.health()
    return await reply.code(health.database === 'up' ? 200 : 503).send(health)
  })
}
