import type { Logger } from '../ports.js'
import type { RedisClient } from '../redis/client.js'
import { openSubscriber } from '../redis/subscriber.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import type { TokenCache } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import { createFailureReporter } from './availability.js'
import type { CacheAvailability, ReportFailure } from './availability.js'
import { createInvalidationChannel } from './invalidation-channel.js'
import { createInvalidatingCache, createNearCache, createNearLookup } from './near-cache.js'
import type { TokenLookup } from './read-through.js'

export interface Near {
  /** The cache, which also invalidates the entries of every near cache. */
  cache: TokenCache
  /** Puts the near cache in front of a lookup. */
  inFrontOf (lookup: TokenLookup): TokenLookup
  /** Forgets every entry. */
  clear (): void
  start (): void
  close (): Promise<void>
}

export interface NearSettings {
  near: { ttlMs: number, max: number }
  namespace: string
  redis: RedisClient
  cache: TokenCache
  availability: CacheAvailability
  clock: DatabaseClock
  onError: ReportFailure
  logger: Logger
  monotonicNow: Now
}

/** Opens the near cache and its channel. No I/O until `start`. */
export function openNear (settings: NearSettings): Near {
  const { namespace, redis, cache, availability, clock, logger } = settings
  const near = createNearCache({ ...settings.near, clock, isSubscribed: () => availability.isTrusted() && channel.isSubscribed() })
  const subscriber = openSubscriber(redis, logger)
  const channel = createInvalidationChannel({
    subscriber,
    publisher: redis,
    name: `${namespace}n`,
    onInvalid: near.drop,
    onLost: near.clear,
    report: createFailureReporter({ ...settings, message: 'the near cache\'s channel fails: it is not used, or other servers accept ended tokens until cache.near.ttl is over' })
  })
  availability.onDistrust(near.clear)
  // The server may have been replaced, which a subscribed connection does not notice: other servers then publish through the new one.
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
