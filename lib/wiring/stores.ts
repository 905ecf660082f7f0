import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Kysely } from 'kysely'
import { withDeadline } from '../tools/deadline.js'
import type { DeadlineSettings } from '../tools/deadline.js'
import { singleFlight } from '../tools/single-flight.js'
import { INVALID_OPTION, UNAVAILABLE } from '../errors.js'
import type { Settings } from '../options/read.js'
import { createCounters } from '../throttle/counters.js'
import { ping } from '../sql/startup-checks.js'
import { checkLimits } from '../sql/check-limits.js'
import { createFailureReporter } from '../cache/failure.js'
import { createCacheAvailability } from '../cache/availability.js'
import type { CacheAvailability } from '../cache/availability.js'
import { createCacheRegistry } from '../sql/caches.js'
import type { CacheRegistry } from '../sql/caches.js'
import { createReadThrough } from '../cache/read-through.js'
import type { TokenLookup } from '../cache/read-through.js'
import { openDatabase } from '../sql/database.js'
import { createDatabaseClock } from '../tools/database-clock.js'
import { createMemoryCache } from '../cache/memory-cache.js'
import { createPrimary } from '../sql/primary.js'
import type { Primary } from '../sql/primary.js'
import { createPseudonyms } from '../crypto/pseudonym.js'
import type { AttemptCommands } from '../throttle/redis-counters.js'
import { createRedisCache } from '../cache/redis-cache.js'
import type { RedisCommands } from '../cache/redis-cache.js'
import { isClient } from '../options/handles.js'
import { openRedis } from '../redis/client.js'
import type { RedisClient } from '../redis/client.js'
import { createRevocationStore } from '../sql/revocations.js'
import { createSeal, UNSEALED } from '../crypto/seal.js'
import { createServerKey } from '../sql/server-key.js'
import type { ServerKey } from '../sql/server-key.js'
import { createSessionStore } from '../sql/sessions.js'
import { createSql } from '../sql/gateway.js'
import { createTables } from '../sql/tables.js'
import type { Tables } from '../sql/tables.js'
import { createTokenStore } from '../sql/tokens.js'
import { createUpkeep } from '../cache/upkeep.js'
import type { Upkeep } from '../cache/upkeep.js'
import { createUserStore } from '../sql/users.js'
import { createEvents } from '../services/events.js'
import type { Emit } from '../services/events.js'
import type { FailureCounters, Pseudonym, RevocationStore, SessionStore, TokenStore, UserStore } from '../ports.js'
import type { TokenCache } from '../../types/cache.js'
import { bounded, createBounds } from './bounds.js'
import { openNear } from './near.js'
import type { Near } from './near.js'

export interface Stores {
  db: Kysely<any>
  primary: Primary
  tables: Tables
  users: UserStore
  reader: TokenStore
  sessions: SessionStore
  revocations: RevocationStore
  cache: TokenCache
  gate: CacheAvailability
  upkeep: Upkeep
  cacheRegistry: CacheRegistry
  resolver: TokenLookup
  near: Near
  redis: RedisClient | null
  attempts: FailureCounters
  /** Read at start, or at the first use that finds the database. */
  serverKey: ServerKey
  pseudonym: Pseudonym
  emit: Emit
  /** Asks the database for nothing. */
  ping (): Promise<void>
  /** Warns of connections without time limits. */
  checkLimits (): Promise<void>
  close (): Promise<void>
}

const monotonicNow = () => performance.now()

/** Opens the database and the cache, and makes every store over them. No I/O yet. */
export function openStores (fastify: FastifyInstance, settings: Settings): Stores {
  const { log } = fastify
  const { db, poolSize, close: closeDatabase } = openDatabase(settings.database, log)
  const redis = openCacheClient(fastify, settings)
  const emit = createEvents({ hooks: settings.hooks, logger: log })
  const failures = { tell: (operation: string, error: Error) => emit('cacheError', { operation, error }), logger: log, monotonicNow }
  const gate = createCacheAvailability({
    monotonicNow,
    onError: createFailureReporter({ ...failures, message: 'the token cache does not answer: tokens are looked up in the database' })
  })
  const clock = createDatabaseClock({ now: settings.now, monotonicNow })
  const near = openNear({ ...failures, settings, redis, gate, clock, cache: openCache(redis, settings) })
  const { cache } = near
  const deadline = { timeoutMs: settings.lookup.timeoutMs, expired: () => new UNAVAILABLE() }
  const { ttlMs: cacheTtlMs, namespace } = settings.cache
  const tables = createTables(settings.map)
  const primary = createPrimary(db)
  const sql = createSql(db, { timeoutMs: deadline.timeoutMs, connections: poolSize, isPrimary: primary.isKnown })
  const { lookups, logins } = createBounds(settings.lookup, poolSize)
  const serverKey = createServerKey({ sql: bounded(sql, logins, ['read']), tables, deadline })
  const looking = bounded(createTokenStore(sql, tables, { ...settings.token, cacheTtlMs }), lookups, ['find'])
  const reader = timed(bounded(looking, logins, ['isKnownAddress']), deadline)
  const ending = {
    sessions: createSessionStore(sql, tables, { ...settings.token, cacheTtlMs }),
    revocations: timedSome(
      bounded(createRevocationStore(sql, tables, { cacheTtlMs }), lookups, ['token', 'endedTogether']),
      deadline,
      ['endedTogether', 'findEnded', 'refresh']
    )
  }
  const upkeep = createUpkeep({
    cache,
    cacheTtlMs,
    gate,
    listStale: reader.listStale,
    assertPrimary: () => withDeadline(primary.assert(), deadline),
    findEnded: ending.revocations.findEnded,
    timeoutMs: deadline.timeoutMs,
    monotonicNow
  })
  upkeep.doubts.onBegin(near.clear)
  const cacheRegistry = createCacheRegistry({ sql, tables, namespace, ttlMs: cacheTtlMs, clock, deadline, logger: log })

  return {
    db,
    primary,
    tables,
    users: timed(bounded(createUserStore(sql, tables), logins, ['findByUsername']), deadline),
    reader,
    ...upkeep.followed(ending),
    cache,
    gate,
    upkeep,
    cacheRegistry,
    resolver: near.inFrontOf(createReadThrough({
      cache,
      gate,
      doubts: upkeep.doubts,
      seal: redis === null ? UNSEALED : createSeal(serverKey),
      find: reader.find,
      deadline,
      ttlMs: cacheTtlMs,
      clock,
      leaseOwner: randomBytes(9).toString('base64url'),
      jitter: Math.random
    })),
    near,
    redis,
    attempts: createCounters({
      redis: redis as unknown as AttemptCommands | null,
      namespace: settings.cache.namespace,
      localRules: settings.accountLimit?.local ?? null,
      logger: log,
      monotonicNow
    }),
    serverKey,
    pseudonym: createPseudonyms(serverKey),
    emit,
    ping: singleFlight(() => withDeadline(sql.read(ping), deadline)),
    checkLimits: () => checkLimits(db, log, deadline),
    async close () {
      await cacheRegistry.close()
      await upkeep.close()
      await near.close()
      await cache.close()
      await closeDatabase(deadline.timeoutMs)
    }
  }
}

function openCacheClient (fastify: FastifyInstance, { redis }: Settings): RedisClient | null {
  if (redis === null) return null
  if (redis !== true) return openRedis(redis, fastify.log)
  const { redis: client } = fastify as { redis?: unknown }
  if (isClient(client)) return openRedis(client, fastify.log)
  throw new INVALID_OPTION('redis: true needs @fastify/redis to be registered before; with namespaces give the client: fastify.redis.<namespace>')
}

function openCache (redis: RedisClient | null, { cache }: Settings): TokenCache {
  if (redis === null) return createMemoryCache({ max: cache.max, now: monotonicNow })
  return createRedisCache({
    client: redis as unknown as RedisCommands,
    namespace: cache.namespace,
    readTimeoutMs: cache.timeoutMs,
    close: async () => { redis.disconnect() }
  })
}

/** The same port with a deadline on every call. */
function timed<Port extends object> (port: Port, deadline: DeadlineSettings): Port {
  return timedSome(port, deadline, Object.keys(port) as (keyof Port)[])
}

function timedSome<Port extends object> (port: Port, deadline: DeadlineSettings, names: (keyof Port)[]): Port {
  const calls = names.map((name) => [name, (...args: unknown[]) => withDeadline((port[name] as (...args: unknown[]) => Promise<unknown>)(...args), deadline)])
  return { ...port, ...Object.fromEntries(calls) }
}
