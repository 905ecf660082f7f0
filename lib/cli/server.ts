import type fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type swagger from '@fastify/swagger'
import type swaggerUi from '@fastify/swagger-ui'
import { authPlugin } from '../plugin.js'
import { openapi } from '../schemas/openapi.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { TrustProxy } from './environment.js'
import { healthRoute } from './health.js'
import { importPeer } from './peers.js'
import { version } from './version.js'

export interface ServerSettings {
  auth: AuthPluginOptions
  trustProxy: TrustProxy
  logLevel: string
  logs: { write (line: string): unknown }
}

/** The API that `serve` serves: the plugin, `/health`, and the OpenAPI document with its pages at `/docs`. */
export async function createServer ({ auth, trustProxy, logLevel, logs }: ServerSettings): Promise<FastifyInstance> {
  const { default: Fastify } = await importPeer<{ default: typeof fastify }>('fastify')
  const app = Fastify({ trustProxy, logger: { level: logLevel, stream: logs } }) as unknown as FastifyInstance
  try {
    await describe(app)
    await app.register(authPlugin, auth)
    healthRoute(app)
    await app.ready()
    return app
  } catch (error) {
    await app.close().catch(() => {})
    throw error
  }
}

// Before the routes: @fastify/swagger sees only those that come after it.
async function describe (app: FastifyInstance): Promise<void> {
  const { default: plugin } = await importPeer<{ default: typeof swagger }>('@fastify/swagger')
  const { default: pages } = await importPeer<{ default: typeof swaggerUi }>('@fastify/swagger-ui')
  const { tags, components } = openapi()
  await app.register(plugin, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'fastify-token-auth',
        description: 'Token login with sessions that can be ended',
        version,
        license: { name: 'MIT', identifier: 'MIT' }
      },
      servers: [{ url: '/', description: 'This server' }],
      tags: [...tags, { name: 'service', description: 'The server itself' }],
      components
    }
  })
  await app.register(pages, { routePrefix: '/docs' })
}
