import type { Settings } from '../options/read.js'
import type { CacheAvailability } from '../cache/availability.js'
import { createFailureReporter } from '../cache/failure.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import type { TokenLookup } from '../cache/read-through.js'
import { createNearCache } from '../cache/near-cache.js'
import { createInvalidationChannel } from '../cache/invalidation-channel.js'
import { createNearLookup, createInvalidatingCache } from '../cache/near-token-store.js'
import { openSubscriber } from '../redis/client.js'
import type { RedisClient } from '../redis/client.js'
import type { InvalidationChannel, Logger, NearCache } from '../ports.js'
import type { TokenCache } from '../../types/cache.js'
import type { Now } from '../../types/options.js'

export interface Near {
  /** The cache, telling the near caches of what it ends. */
  cache: TokenCache
  inFrontOf (store: TokenLookup): TokenLookup
  /** Forgets every entry. */
  clear (): void
  start (): void
  close (): Promise<void>
}

export interface NearSettings {
  settings: Settings
  redis: RedisClient | null
  cache: TokenCache
  gate: CacheAvailability
  clock: DatabaseClock
  tell: (operation: string, error: Error) => void
  logger: Logger
  monotonicNow: Now
}

/** Makes the near cache and its channel; where it is off, nothing stands in between. */
export function openNear (parts: NearSettings): Near {
  const { settings: { cache: { near: options, namespace } }, redis, cache, gate, clock, logger } = parts
  if (options === null || redis === null) return { cache, inFrontOf: (store) => store, clear () {}, start () {}, close: async () => {} }
  const near: NearCache = createNearCache({ ...options, clock, isTold: () => gate.isTrusted() && channel.isStanding() })
  const subscriber = openSubscriber(redis, logger)
  const channel: InvalidationChannel = createInvalidationChannel({
    subscriber,
    publisher: redis,
    name: `${namespace}n`,
    onInvalid: near.drop,
    onLost: near.clear,
    report: createFailureReporter({ ...parts, message: 'the near cache\'s channel fails: it is not used, or other servers accept ended tokens until cache.near.ttl is over' })
  })
  gate.onDistrust(near.clear)
  // The server may have been replaced, and a connection that only listens does not notice: messages go to the new one.
  onLoss(cache, () => subscriber.stream?.destroy())
  return {
    cache: createInvalidatingCache({ cache, near, channel }),
    inFrontOf: (store) => createNearLookup({ near, store }),
    clear: near.clear,
    start: channel.start,
    close: channel.close
  }
}

function onLoss (cache: TokenCache, listener: () => void): void {
  let wasConnected = false
  cache.onConnection((isConnected) => {
    if (wasConnected && !isConnected) listener()
    wasConnected = isConnected
  })
}
