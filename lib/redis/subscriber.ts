import type { Redis } from 'ioredis'
import { INVALID_OPTION } from '../errors.js'
import type { Logger } from '../ports.js'
import type { RedisClient } from './client.js'
import { warnOnce } from './warnings.js'

/** No request waits for a subscription, so it may take longer than a lookup. */
const SUBSCRIBE_TIMEOUT_MS = 5000

/**
 * A second connection with the settings of the first, for subscriptions: a subscribed one serves nothing else.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION` for a Cluster
 */
export function openSubscriber (client: RedisClient, logger: Logger): Redis {
  if (client.isCluster) throw new INVALID_OPTION('cache.near must be off with a Redis Cluster: its client does not report when a subscription is lost')
  const single = client as Redis
  const connectionName = [single.options.connectionName, 'near'].filter(Boolean).join('-')
  const subscriber = single.duplicate({ connectionName, lazyConnect: true, autoResubscribe: false, commandTimeout: SUBSCRIBE_TIMEOUT_MS })
  warnOnce(subscriber, logger, 'the near cache is not used until it is back')
  return subscriber
}
