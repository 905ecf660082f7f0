import fp from 'fastify-plugin'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import { openCache } from './cache/index.js'
import { DECORATOR_TAKEN } from './errors.js'
import { createAccepted } from './hooks/accepted.js'
import { createAuthenticate, isAuthenticate, isUncalledWith } from './hooks/authenticate.js'
import { createReadToken, createRequireDigest } from './hooks/authorization.js'
import { describeSecurity } from './hooks/describe-security.js'
import { challengeOf } from './hooks/error-headers.js'
import { createIpLimit } from './hooks/ip-limit.js'
import { refuseMisplaced, refuseUncalled } from './hooks/placement.js'
import { addRegistration } from './hooks/registrations.js'
import { readOptions } from './options/read.js'
import type { Settings } from './options/read.js'
import type { TokenRecord } from './ports.js'
import { createCallerOf, eventOriginOf } from './routes/request.js'
import { createEvents } from './services/events.js'
import { createServices } from './services/index.js'
import { MANAGE_SCOPE } from './services/sessions.js'
import { openSql } from './sql/index.js'
import { openCounters } from './throttle/index.js'
import type { AuthEvents } from '../types/events.js'
import type { AuthPluginOptions } from '../types/options.js'

function refuseTaken (fastify: FastifyInstance, { authenticate, tokenAuth, user, auth }: Settings['decorators']): void {
  for (const name of [authenticate, tokenAuth]) if (fastify.hasDecorator(name)) throw new DECORATOR_TAKEN(name)
  for (const name of [user, auth]) if (fastify.hasRequestDecorator(name)) throw new DECORATOR_TAKEN(`request.${name}`)
}

const plugin: FastifyPluginAsync<AuthPluginOptions> = async (fastify, options) => {
  const settings = readOptions(options)
  const { decorators } = settings
  refuseTaken(fastify, decorators)
  const { log: logger } = fastify
  const challenge = challengeOf(settings)
  const emit = createEvents({ hooks: settings.hooks, logger })

  const database = openSql(settings, logger)
  // Modules that cost time to load are loaded when they are used.
  const redis = settings.redis === null ? null : (await import('./redis/client.js')).openCacheClient(settings.redis, fastify)
  const cache = openCache({ settings, redis, database, onError: (operation, error) => emit('cacheError', { operation, error }), logger })
  fastify.addHook('onClose', async () => { await cache.close().finally(database.close) })
  const counters = openCounters(settings, redis, logger)
  const { format, lastUsed, login, passwords, sessions, tokenAuth, hashLength, prepare, close } = createServices({ settings, database, cache, counters, emit, logger })
  fastify.addHook('onReady', async () => prepare())
  // Starts the last write of uses before Fastify waits for kept-alive connections: a supervisor may kill the process during that wait.
  // `close` waits for the write. Fastify runs these hooks from the last to the first, so services close before the cache and the database.
  fastify.addHook('preClose', async () => { lastUsed.flush() })
  fastify.addHook('onClose', close)
  await database.start(cache.place, hashLength)
  await cache.start()

  const onRefused = (reason: AuthEvents['tokenRefused']['reason'], request: FastifyRequest, record: TokenRecord | null) =>
    emit('tokenRefused', { reason, userId: record?.user.id ?? null, sessionId: record?.sessionId ?? null, ...eventOriginOf(request) })
  const onLimited = (request: FastifyRequest) =>
    emit('loginFailed', { reason: 'rate_limited', detail: null, userId: null, name: null, ...eventOriginOf(request) })
  const readToken = createReadToken(settings.schemes)
  const accepted = createAccepted(decorators)
  const authenticate = createAuthenticate({ challenge, readToken, format, peek: cache.peek, lookup: cache.lookup, lookupFresh: cache.lookupFresh, accepted, noteUse: lastUsed.note, now: settings.now, onRefused })
  const ipLimit = settings.rateLimit === null ? null : await createIpLimit({ ...settings.rateLimit, redis, challenge, logger, onLimited })
  if (ipLimit !== null) fastify.addHook('onClose', ipLimit.close)

  fastify.addHook('onRoute', (route) => {
    refuseUncalled(route, isUncalledWith)
    refuseMisplaced(route, isAuthenticate)
  })
  const isDocumented = fastify.hasDecorator('swagger')
  if (settings.openapi.hostRoutes && isDocumented) fastify.addHook('onRoute', describeSecurity)
  fastify.decorate(decorators.authenticate, authenticate)
  fastify.decorate(decorators.tokenAuth, tokenAuth)
  accepted.decorate(fastify)
  addRegistration(fastify, { authenticate, user: decorators.user })
  const { routes } = await import('./routes/index.js')
  await fastify.register(routes, {
    login,
    passwords,
    sessions,
    prefix: settings.prefix,
    openapi: { ...settings.openapi, userColumns: isDocumented ? await database.readSelectedColumns() : {}, logger },
    challenge,
    captcha: settings.captcha === null ? 'never' : settings.captcha.when,
    authenticate,
    callerOf: createCallerOf(decorators),
    errorHandler: () => fastify.errorHandler,
    manage: authenticate.with({ scopes: [MANAGE_SCOPE] }),
    requireDigest: createRequireDigest({ readToken, isWellFormed: format.isWellFormed, onMalformed: (request) => onRefused('malformed', request, null) }),
    ipLimit: ipLimit?.hook ?? null
  })
}

/** The plugin: `fastify.register(authPlugin, options)`. All options are in docs/options.md. */
export const authPlugin = fp(plugin, { name: 'fastify-token-auth', fastify: '5.x' })
