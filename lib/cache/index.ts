import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { createSeal, UNSEALED } from '../crypto/seal.js'
import { UNAVAILABLE } from '../errors.js'
import type { Logger } from '../ports.js'
import type { Settings } from '../options/read.js'
import { placeOf } from '../redis/place.js'
import type { RedisClient } from '../redis/client.js'
import type { Database } from '../sql/index.js'
import type { TokenCache } from '../../types/cache.js'
import type { Health } from '../../types/token-auth.js'
import { createCacheAvailability, createFailureReporter, probe } from './availability.js'
import type { ReportFailure } from './availability.js'
import { createCacheConsistency } from './consistency.js'
import { createDoubts } from './doubts.js'
import { createHeartbeat, NO_HEARTBEAT } from './heartbeat.js'
import { joinProcess } from './in-process.js'
import { createMark } from './mark.js'
import { createMemoryCache } from './memory-cache.js'
import { openNear } from './near.js'
import { createReadThrough } from './read-through.js'
import { createRedisCache } from './redis-cache.js'
import type { RedisCommands } from './redis-cache.js'
import { monotonicNow } from '../tools/monotonic.js'

export interface CacheParts {
  settings: Settings
  /** `null`: the cache is in this process. */
  redis: RedisClient | null
  database: Pick<Database, 'tokens' | 'key' | 'clock' | 'assertPrimary' | 'watchOutcomes'>
  onError: ReportFailure
  logger: Logger
}

export type OpenCache = ReturnType<typeof openCache>

/** How long a start waits for Redis. */
const START_MS = 1000

/** Opens the cache and the lookups through it. No I/O until `start`. */
export function openCache ({ settings, redis, database, onError, logger }: CacheParts) {
  const { cache: { ttlMs, near: nearSettings, namespace }, lookup: { timeoutMs } } = settings
  const availability = createCacheAvailability({
    monotonicNow,
    onError: createFailureReporter({ onError, logger, monotonicNow, message: 'the token cache does not answer: tokens are looked up in the database' })
  })
  const doubts = createDoubts()
  const far = createCache(settings, redis)
  const near = redis === null || nearSettings === null
    ? null
    : openNear({ near: nearSettings, namespace, redis, cache: far, availability, clock: database.clock, onError, logger, monotonicNow })
  if (near !== null) doubts.onBegin(near.clear)
  const cache = near?.cache ?? far
  // A command is gone before anybody looks.
  const mark = redis === null || settings.isCommand ? null : createMark({ redis, namespace, serverKey: database.key, onConnection: far.onConnection })
  const { listStale, find } = database.tokens
  const heartbeat = redis === null ? NO_HEARTBEAT : createHeartbeat({ redis, namespace, onLost: () => consistency.lostWrites() })
  const consistency = createCacheConsistency({
    cache,
    cacheTtlMs: ttlMs,
    availability,
    doubts,
    listStale,
    assertPrimary: database.assertPrimary,
    heartbeat
  })
  const unwatch = database.watchOutcomes(consistency.watcher)
  const readThrough = createReadThrough({
    cache,
    availability,
    doubts,
    seal: redis === null ? UNSEALED : createSeal(database.key, viewOf(settings)),
    find,
    deadline: { timeoutMs, expired: () => new UNAVAILABLE() },
    ttlMs,
    clock: database.clock,
    leaseOwner: randomBytes(9).toString('base64url'),
    jitter: Math.random
  })

  return {
    ...near?.inFrontOf(readThrough) ?? readThrough,
    /** Where the keys of this cache are; `null`: in this process. */
    keys: redis === null ? null : { ...placeOf(redis), namespace },
    writeTombstones: consistency.writeTombstones,
    dropEntries: consistency.dropEntries,
    holdsTombstone: cache.holdsTombstone,
    /** Connects, and waits a second at most: the client goes on trying, and has logged what is wrong. */
    async start () {
      consistency.start()
      near?.start()
      mark?.start()
      const connected = redis?.connect().then(() => consistency.ready) ?? consistency.ready
      await atMost(START_MS, connected)
    },
    async health (): Promise<Health['cache']> {
      if (redis === null) return 'in-process'
      await probe(cache, availability)
      if (availability.isHealthy()) return 'up'
      return redis.status === 'ready' ? 'catching-up' : 'down'
    },
    async close () {
      await Promise.all([unwatch(), consistency.close()])
      mark?.close()
      heartbeat.close()
      await near?.close()
      await cache.close()
    }
  }
}

// A registration with another condition for active users, other columns or another idle limit would have found something else in SQL.
function viewOf ({ map: { users: { idType, ...users }, tokens }, token: { idleTtlMs } }: Settings): string {
  return JSON.stringify([users, tokens, idleTtlMs])
}

function createCache ({ cache }: Settings, redis: RedisClient | null): TokenCache {
  if (redis === null) return joinProcess(createMemoryCache({ max: cache.max, now: monotonicNow }))
  return createRedisCache({
    client: redis as unknown as RedisCommands,
    namespace: cache.namespace,
    readTimeoutMs: cache.timeoutMs,
    close: async () => { redis.disconnect() }
  })
}

async function atMost (ms: number, work: Promise<void>): Promise<void> {
  const timer = new AbortController()
  await Promise.race([work.catch(() => {}), pause(ms, undefined, timer).catch(() => {})])
  timer.abort()
}
