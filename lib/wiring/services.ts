import type { FastifyRequest } from 'fastify'
import { INVALID_TOKEN, UNAUTHENTICATED } from '../errors.js'
import { createAuthenticate } from '../hooks/authenticate.js'
import { readBearer } from '../hooks/authorization.js'
import { clientAddress } from '../tools/client-address.js'
import { challengeOf } from '../hooks/error-headers.js'
import { duration } from '../options/rules.js'
import type { Settings } from '../options/read.js'
import { fromOf } from '../routes/request.js'
import type { RouteSettings } from '../routes/request.js'
import { createUserService } from '../services/users.js'
import type { UserService } from '../services/users.js'
import { createPropagate } from '../services/revocation.js'
import type { Emit } from '../services/events.js'
import { createTokenFactory } from '../services/tokens.js'
import { createLastUsed } from '../services/last-used.js'
import { createLoginService } from '../services/login.js'
import { createPasswordService } from '../services/passwords.js'
import { createSessionService, MANAGE_SCOPE } from '../services/sessions.js'
import { createTokenFormat, digestOf } from '../crypto/token.js'
import type { Authenticate } from '../../types/fastify.js'
import type { AuthEvents } from '../../types/events.js'
import type { CacheAvailability } from '../cache/availability.js'
import type { Logger, TokenRecord } from '../ports.js'
import type { TokenCache } from '../../types/cache.js'
import type { Health, TokenAuth } from '../../types/token-auth.js'
import { openapi } from '../schemas/openapi.js'
import { openLoginParts } from './login.js'
import { readVariant } from './variant.js'
import type { Stores } from './stores.js'

export interface Services {
  authenticate: Authenticate
  tokenAuth: TokenAuth
  forRoutes: Omit<RouteSettings, 'ipLimit'>
  emit: Emit
  /** Makes the dummy hash before the first login needs it. */
  prepare (): void
  /** Begins what need not wait until the last request has been answered. */
  prepareClose (): Promise<void>
  close (): Promise<void>
}

/** Makes the services over the stores. */
export function createServices (logger: Logger, settings: Settings, stores: Stores): Services {
  const { token, now } = settings
  const challenge = challengeOf(settings)
  const { reader, emit, resolver } = stores
  const login = openLoginParts(logger, settings, stores)
  const format = createTokenFormat({ prefix: token.prefix, randomBytes: settings.randomBytes })
  const announce = createPropagate({ writeTombstones: stores.upkeep.writeTombstones, revocations: stores.revocations, revocation: settings.revocation, emit })
  const lastUsed = createLastUsed({ touch: reader.touch, intervalMs: token.touchIntervalMs, now, logger })
  const common = {
    ...stores,
    ...stores.upkeep,
    ...login,
    announce,
    canonicalize: settings.canonicalize,
    minter: createTokenFactory({ format, ttlMs: token.ttlMs })
  }
  const sessions = createSessionService({ ...common, resolveFresh: resolver.resolveFresh })
  const passwords = createPasswordService(common)
  const admin = createUserService({ ...common, retentionMs: token.retentionMs })
  const schemes = new Set(settings.schemes.map((scheme) => scheme.toLowerCase()))
  const authenticate = createAuthenticate({ challenge, schemes, isWellFormed: format.isWellFormed, digestOf, ...resolver, readVariant, noteUse: lastUsed.note, onRefused })

  function onRefused (reason: AuthEvents['tokenRefused']['reason'], request: FastifyRequest, record: TokenRecord | null): void {
    emit('tokenRefused', { reason, userId: record?.user.id ?? null, sessionId: record?.sessionId ?? null, ...fromOf(request) })
  }

  function presentedDigest (request: FastifyRequest): string {
    const text = readBearer(request.raw, schemes)
    if (text === null) throw new UNAUTHENTICATED()
    if (format.isWellFormed(text)) return digestOf(text)
    onRefused('malformed', request, null)
    throw new INVALID_TOKEN()
  }

  return {
    authenticate,
    emit,
    tokenAuth: {
      ...asTokenAuth(admin),
      setPassword: passwords.set,
      revokeToken: async (text) => format.isWellFormed(text) && await sessions.revokeToken(digestOf(text)),
      revokeUser: sessions.revokeUser,
      listSessions: sessions.list,
      health: () => health(stores),
      openapi
    },
    forRoutes: {
      challenge,
      captcha: settings.captcha === null ? 'never' : settings.captcha.when ?? 'always',
      authenticate,
      manage: authenticate.with({ scopes: [MANAGE_SCOPE] }),
      presentedDigest,
      login: createLoginService(common),
      passwords,
      sessions
    },
    prepare: login.checker.prepare,
    async prepareClose () {
      // Nobody waits for it here: `close` does. A connection that is kept alive may hold that up for longer than the process has.
      lastUsed.flush()
    },
    async close () {
      await lastUsed.close()
      await login.close()
    }
  }
}

function asTokenAuth (admin: UserService): Pick<TokenAuth, keyof UserService> {
  return {
    ...admin,
    issueToken: async (userId, { ttl, label = null, scopes = null, ip = null, userAgent = null } = {}) => {
      const life = ttl === undefined ? {} : { ttlMs: duration({ min: 1000 })(ttl, 'ttl') }
      // What is no address is left for the database to refuse.
      return await admin.issueToken(userId, { label, scopes, ip: clientAddress(ip) ?? ip, userAgent, ...life })
    },
    pruneExpired: ({ batchSize = 1000, onProgress = () => {} } = {}) => admin.pruneExpired({ batchSize, onProgress })
  }
}

async function health ({ cache, gate, redis, ping }: Stores): Promise<Health> {
  const database = await ping().then(() => 'up' as const, () => 'down' as const)
  if (redis === null) return { database, cache: 'in-process' }
  if (!gate.isHealthy() && gate.admits()) await probe(cache, gate)
  if (gate.isHealthy()) return { database, cache: 'up' }
  return { database, cache: redis.status === 'ready' ? 'catching-up' : 'down' }
}

// A server without requests would else not find out that the cache answers again.
function probe (cache: TokenCache, gate: CacheAvailability): Promise<void> {
  return new Promise((resolve) => {
    cache.get(digestOf(''), (error) => {
      if (error === null) gate.succeeded()
      else gate.failed('get', error)
      resolve()
    })
  })
}
