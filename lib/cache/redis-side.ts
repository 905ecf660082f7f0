import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { createSeal } from '../crypto/seal.js'
import type { ServerKey } from '../crypto/seal.js'
import type { TokenStore } from '../ports.js'
import { placeOf } from '../redis/place.js'
import type { RedisClient } from '../redis/client.js'
import type { DeadlineSettings } from '../tools/deadline.js'
import { monotonicNow } from '../tools/monotonic.js'
import type { Health } from '../../types/token-auth.js'
import { createCacheAvailability, probe } from './availability.js'
import type { ReportFailure } from './availability.js'
import { createCacheConsistency } from './consistency.js'
import type { CacheConsistencySettings } from './consistency.js'
import type { Doubts } from './doubts.js'
import { createHeartbeat } from './heartbeat.js'
import type { DatabaseReadSettings } from './lookup.js'
import { createMark } from './mark.js'
import { createReadThrough } from './read-through.js'
import { createRedisCache } from './redis-cache.js'
import type { RedisCommands } from './redis-cache.js'

export interface RedisSideSettings {
  cache: { ttlMs: number, timeoutMs: number, namespace: string }
  /** What an entry depends on beside the database: see `createSeal`. */
  view: string
  redis: RedisClient
  serverKey: ServerKey
  listStale: TokenStore['listStale']
  assertPrimary: () => Promise<void>
  /** Whether servers mark their Redis, by which commands recognize it. */
  isMarked: boolean
  doubts: Doubts
  reading: DatabaseReadSettings
  deadline: DeadlineSettings
  mayRead: () => boolean
  withdraw: CacheConsistencySettings['withdraw']
  report: (message: string) => ReportFailure
}

/** How long a start waits for Redis. */
const START_MS = 1000

/** Everything that is in Redis. */
export function openRedisSide (settings: RedisSideSettings) {
  const { cache: { ttlMs, timeoutMs, namespace }, view, redis, serverKey, doubts, reading, deadline, mayRead, report } = settings
  const availability = createCacheAvailability({ monotonicNow, onError: report('the token cache does not answer: tokens are looked up in the database') })
  const cache = createRedisCache({ client: redis as unknown as RedisCommands, namespace, readTimeoutMs: timeoutMs, close: async () => { redis.disconnect() } })
  const mark = settings.isMarked ? createMark({ redis, namespace, serverKey, onConnection: cache.onConnection }) : null
  const heartbeat = createHeartbeat({ redis, namespace, onLost: () => consistency.lostWrites() })
  const consistency = createCacheConsistency({ ...settings, cache, cacheTtlMs: ttlMs, availability, heartbeat, timeoutMs: deadline.timeoutMs })

  return {
    ...consistency,
    lookup: createReadThrough({ ...reading, cache, availability, doubts, seal: createSeal(serverKey, view), deadline, mayRead, leaseOwner: randomBytes(9).toString('base64url') }),
    holdsTombstone: cache.holdsTombstone,
    keys: { ...placeOf(redis), namespace },
    isTrusted: availability.isTrusted,
    onDoubt: availability.onDistrust,
    onLoss (listener: () => void) {
      let wasConnected = false
      cache.onConnection((isConnected) => {
        if (wasConnected && !isConnected) listener()
        wasConnected = isConnected
      })
    },
    async start () {
      consistency.start()
      mark?.start()
      await atMost(START_MS, redis.connect().then(() => consistency.ready))
    },
    async health (): Promise<Health['cache']> {
      await probe(cache, availability)
      if (availability.isHealthy()) return 'up'
      return redis.status === 'ready' ? 'catching-up' : 'down'
    },
    async close () {
      await consistency.close()
      mark?.close()
      heartbeat.close()
      await cache.close()
    }
  }
}

async function atMost (ms: number, work: Promise<void>): Promise<void> {
  const timer = new AbortController()
  await Promise.race([work.catch(() => {}), pause(ms, undefined, timer).catch(() => {})])
  timer.abort()
}
