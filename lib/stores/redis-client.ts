import { Redis } from 'ioredis'
import type { Cluster, RedisOptions } from 'ioredis'
import type { RedisOption } from '../../types/options.js'
import type { Logger } from '../../types/ports.js'
import { INVALID_OPTION } from '../errors.js'

/**
 * ioredis' defaults break the promises: a GET waits for seconds in the offline queue of a server that
 * is away, and a SET that was queued is replayed into the one that comes back empty.
 */
const SAFE = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0
} satisfies RedisOptions

const DEFAULTS = {
  // Reads of tokens have less, see redis-cache.ts.
  commandTimeout: 500,
  connectTimeout: 1000,
  enableAutoPipelining: true,
  lazyConnect: true,
  connectionName: 'fastify-token-auth',
  retryStrategy: (attempt: number) => Math.min(50 * 2 ** attempt, 2000) * (0.75 + 0.5 * Math.random()),
  // After a failover the old master answers READONLY until the client looks for the new one.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY')
} satisfies RedisOptions

export type RedisClient = Redis | Cluster

/** Opens a connection of our own, with safe settings: to the given address, or where the given client goes. */
export function openRedis (option: Exclude<RedisOption, true>, logger: Logger): RedisClient {
  const client = isClient(option) ? duplicate(option) : connect(option)
  warnOnce(client, logger, 'Redis cannot be reached: tokens are looked up in the database until it is back')
  return client
}

/** Nobody waits for a subscription, so it may take longer than a look-up. */
const SUBSCRIBE_TIMEOUT_MS = 5000

/**
 * A second connection with the settings of the first, for subscriptions: a subscribed one serves nothing else.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION` for a Cluster
 */
export function openSubscriber (client: RedisClient, logger: Logger): Redis {
  if (client.isCluster) throw new INVALID_OPTION('cache.near must be off with a Redis Cluster: its client does not tell when a subscription is lost')
  const single = client as Redis
  const connectionName = [single.options.connectionName, 'near'].filter(Boolean).join('-')
  const subscriber = single.duplicate({ connectionName, lazyConnect: true, autoResubscribe: false, commandTimeout: SUBSCRIBE_TIMEOUT_MS })
  warnOnce(subscriber, logger, 'Redis cannot be reached: the near cache is not used until it is back')
  return subscriber
}

// Read back from the client: ioredis lets the URL's query win over the options.
function connect ({ url, ...options }: RedisOptions & { url?: string | undefined }): Redis {
  const settings: RedisOptions = { ...DEFAULTS, ...options, ...SAFE }
  const client = url === undefined ? new Redis(settings) : new Redis(url, settings)
  for (const [name, value] of Object.entries(SAFE) as [keyof typeof SAFE, unknown][]) {
    const given = options[name] === undefined ? client.options[name] : options[name]
    if (given === value) continue
    client.disconnect()
    throw new INVALID_OPTION(`redis.${name} must be ${value}: otherwise a write that was queued while Redis was away is replayed later`)
  }
  if (!Number.isInteger(client.options.db)) {
    client.disconnect()
    throw new INVALID_OPTION('redis.url must end with the number of a database, as in redis://localhost:6379/0, or with none')
  }
  return client
}

function duplicate (client: RedisClient): RedisClient {
  const settings = { ...DEFAULTS, ...SAFE }
  if (client instanceof Redis || !client.isCluster) return (client as Redis).duplicate(settings)
  const { retryStrategy, ...redisOptions } = settings
  const { enableAutoPipelining, enableOfflineQueue, lazyConnect } = settings
  return client.duplicate([], { clusterRetryStrategy: retryStrategy, enableAutoPipelining, enableOfflineQueue, lazyConnect, redisOptions })
}

/** Whether the value is an ioredis client (of whatever copy of the package). */
export function isClient (value: unknown): value is RedisClient {
  const { duplicate, status } = (value ?? {}) as Partial<Redis>
  return typeof duplicate === 'function' && typeof status === 'string'
}

// ioredis emits an error at every attempt to connect: one warning for an outage, one line for its end.
function warnOnce (client: RedisClient, logger: Logger, message: string): void {
  let isDown = false
  client.on('error', (error: Error & { code?: string }) => {
    // ioredis would go on in database 0, among keys that are not ours.
    if (error.message.includes('DB index')) client.disconnect()
    if (isDown) return
    isDown = true
    logger.warn({ reason: error.code ?? error.name }, message)
  })
  client.on('ready', () => {
    if (isDown) logger.info({}, 'Redis is back')
    isDown = false
  })
}
