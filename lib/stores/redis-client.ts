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
  commandTimeout: 100,
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
  warnOnce(client, logger)
  return client
}

// Read back from the client: ioredis lets the URL's query win over the options.
function connect ({ url, ...options }: RedisOptions & { url?: string }): Redis {
  const settings: RedisOptions = { ...DEFAULTS, ...options, ...SAFE }
  const client = url === undefined ? new Redis(settings) : new Redis(url, settings)
  for (const [name, value] of Object.entries(SAFE) as [keyof typeof SAFE, unknown][]) {
    const given = options[name] === undefined ? client.options[name] : options[name]
    if (given === value) continue
    client.disconnect()
    throw new INVALID_OPTION(`redis.${name} must be ${value}: otherwise a write that was queued while Redis was away is replayed later`)
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
function warnOnce (client: RedisClient, logger: Logger): void {
  let isDown = false
  client.on('error', (error: Error & { code?: string }) => {
    if (isDown) return
    isDown = true
    logger.warn({ reason: error.code ?? error.name }, 'Redis cannot be reached: tokens are looked up in the database until it is back')
  })
  client.on('ready', () => {
    if (isDown) logger.info({}, 'Redis is back')
    isDown = false
  })
}
