import fp from 'fastify-plugin'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import type { AuthPluginOptions } from '../types/options.js'
import { DECORATOR_TAKEN } from './errors.js'
import { isAuthenticate } from './hooks/authenticate.js'
import { challengeOf } from './hooks/error-headers.js'
import { createIpLimit } from './hooks/ip-limit.js'
import { refuseMisplaced } from './hooks/placement.js'
import { readOptions } from './options/read.js'
import { fromOf } from './routes/request.js'
import { routes } from './routes/index.js'
import { createServices } from './wiring/services.js'
import { openStores } from './wiring/stores.js'
import { startStores } from './wiring/start.js'

function refuseTaken (fastify: FastifyInstance): void {
  for (const name of ['authenticate', 'tokenAuth']) if (fastify.hasDecorator(name)) throw new DECORATOR_TAKEN(name)
  for (const name of ['user', 'auth']) if (fastify.hasRequestDecorator(name)) throw new DECORATOR_TAKEN(`request.${name}`)
}

const plugin: FastifyPluginAsync<AuthPluginOptions> = async (fastify, options) => {
  const settings = readOptions(options)
  refuseTaken(fastify)
  const stores = openStores(fastify, settings)
  fastify.addHook('onClose', stores.close)
  const started = await startStores(stores, settings, fastify.log)
  fastify.addHook('onClose', started.close)
  const services = createServices(fastify.log, settings, stores)
  fastify.addHook('onReady', async () => services.prepare())
  fastify.addHook('preClose', services.prepareClose)
  fastify.addHook('onClose', services.close)
  const ipLimit = settings.rateLimit === null
    ? null
    : await createIpLimit({
      ...settings.rateLimit,
      redis: stores.redis,
      namespace: settings.cache.namespace,
      challenge: challengeOf(settings),
      logger: fastify.log,
      onLimited: (request) => services.emit('loginFailed', { reason: 'rate_limited', detail: null, userId: null, name: null, ...fromOf(request) })
    })
  if (ipLimit !== null) fastify.addHook('onClose', ipLimit.close)

  fastify.addHook('onRoute', (route) => refuseMisplaced(route, isAuthenticate))
  fastify.decorate('authenticate', services.authenticate)
  fastify.decorate('tokenAuth', services.tokenAuth)
  fastify.decorateRequest('user', null)
  fastify.decorateRequest('auth', null)
  await fastify.register(routes, { prefix: settings.prefix, ipLimit: ipLimit?.hook ?? null, ...services.forRoutes })
}

/** `fastify.register(authPlugin, options)`; docs/options.md lists the options. */
export const authPlugin = fp(plugin, { name: 'fastify-token-auth', fastify: '5.x' })
