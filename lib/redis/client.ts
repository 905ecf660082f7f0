import { Redis } from 'ioredis'
import type { Cluster, ClusterOptions, RedisOptions } from 'ioredis'
import type { RedisOption } from '../../types/options.js'
import type { Logger } from '../ports.js'
import { INVALID_OPTION } from '../errors.js'
import { isClient } from '../options/handles.js'
import { unreadableUrl } from '../options/rules.js'
import { withoutUndefined } from '../tools/without-undefined.js'
import { NewestMasterConnector } from './sentinel-connector.js'
import { warnOnce } from './warnings.js'

/**
 * The defaults of ioredis break the guarantees: a GET waits for seconds in the offline queue while the server
 * is down, and a queued SET is replayed into a server that comes back empty.
 */
const SAFE = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0
} satisfies RedisOptions

const DEFAULTS = {
  // Token lookups have a shorter timeout: see cache/redis-cache.ts.
  commandTimeout: 500,
  connectTimeout: 1000,
  enableAutoPipelining: true,
  lazyConnect: true,
  // A server that hangs does not close connections: reconnect after this long without an answer, to another server if there is one.
  socketTimeout: 5000,
  sentinelCommandTimeout: 1000,
  // A server that loads its snapshot estimates how long that takes; the estimate is ignored.
  maxLoadingRetryTime: 1000,
  connectionName: 'fastify-token-auth',
  retryStrategy: (attempt: number) => Math.min(50 * 2 ** attempt, 2000) * (0.75 + 0.5 * Math.random()),
} satisfies RedisOptions

const REPEATED_MS = 100

/**
 * After a failover the old master answers READONLY until the client looks for the new one. Of several answers that arrive
 * together one is enough: for each of them ioredis would add a listener to the connection, and Node.js would warn of a leak.
 */
function onceReadOnly (): (error: Error) => boolean {
  let lastAt = -Infinity
  return ({ message }) => {
    if (!message.startsWith('READONLY') || performance.now() - lastAt < REPEATED_MS) return false
    lastAt = performance.now()
    return true
  }
}

/**
 * Additional settings for a Cluster. A redirected read would be answered by a server that is not known to have the latest
 * tombstones, and a replica may lack them at any time. The slot map is refreshed regularly, because a hanging master reports nothing.
 */
const CLUSTER = {
  maxRedirections: 0,
  scaleReads: 'master',
  clusterNodeRetryStrategy: null,
  slotsRefreshTimeout: 1000,
  slotsRefreshInterval: 1000
} satisfies ClusterOptions

/** States of a client that is closed. */
const OVER: readonly string[] = ['disconnecting', 'close', 'end']

export type RedisClient = Redis | Cluster

/**
 * Opens the plugin's own client of the option `redis`; `true` is the client of @fastify/redis.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`
 */
export function openCacheClient (option: RedisOption, { redis, log }: { redis?: unknown, log: Logger }): RedisClient {
  if (option !== true) return openRedis(option, log)
  if (isClient(redis)) return openRedis(redis, log)
  throw new INVALID_OPTION('redis: true needs @fastify/redis to be registered before; with namespaces pass the client: fastify.redis.<namespace>')
}

/** Opens a separate connection with safe settings, to the given address or to that of the given client. */
export function openRedis (option: Exclude<RedisOption, true>, logger: Logger): RedisClient {
  const client = isClient(option) ? duplicate(option) : connect(option as RedisOptions)
  warnOnce(client, logger, 'tokens are looked up in the database until it is back')
  return client
}

// Read back from the client: in ioredis the query of the URL overrides the options.
function connect ({ url, ...options }: RedisOptions & { url?: string | undefined }): Redis {
  const settings: RedisOptions = { ...DEFAULTS, reconnectOnError: onceReadOnly(), ...withoutUndefined(options), ...SAFE, ...connectorFor(options) }
  const client = url === undefined ? new Redis(settings) : fromUrl(url, settings)
  for (const [name, value] of Object.entries(SAFE) as [keyof typeof SAFE, unknown][]) {
    const given = options[name] === undefined ? client.options[name] : options[name]
    if (given === value) continue
    client.disconnect()
    throw new INVALID_OPTION(`redis.${name} must be ${value}: otherwise writes queued while Redis was down are replayed later`)
  }
  if (client.options.role !== 'master') {
    client.disconnect()
    throw new INVALID_OPTION('redis.role must be master: a replica may lack the latest revocations')
  }
  if (!Number.isInteger(client.options.db)) {
    client.disconnect()
    throw new INVALID_OPTION('redis.url must end with the number of a database, as in redis://localhost:6379/0, or with none')
  }
  return client
}

// The error of the URL itself has the whole URL, and its password, as a property that loggers write.
function fromUrl (url: string, settings: RedisOptions): Redis {
  try {
    return new Redis(url, settings)
  } catch {
    throw unreadableUrl('redis.url')
  }
}

function connectorFor ({ sentinels, Connector }: RedisOptions): RedisOptions {
  return sentinels == null || Connector !== undefined ? {} : { Connector: NewestMasterConnector }
}

function duplicate (client: RedisClient): RedisClient {
  const settings = { ...DEFAULTS, reconnectOnError: onceReadOnly(), ...SAFE }
  if (client instanceof Redis || !client.isCluster) return (client as Redis).duplicate({ ...settings, ...connectorFor((client as Redis).options), role: 'master' })
  const { retryStrategy, ...redisOptions } = settings
  const { enableAutoPipelining, enableOfflineQueue, lazyConnect } = settings
  const cluster = client.duplicate([], { ...CLUSTER, clusterRetryStrategy: retryStrategy, enableAutoPipelining, enableOfflineQueue, lazyConnect, redisOptions })
  // ioredis starts the next round when one has ended, even if the client was closed meanwhile: it would never stop.
  const refresh = cluster.refreshSlotsCache.bind(cluster)
  cluster.refreshSlotsCache = (done) => refresh((error) => { if (!OVER.includes(cluster.status)) done?.(error) })
  // Until ioredis has the slot map, commands wait, whatever `enableOfflineQueue` is.
  cluster.delayUntilReady = (done) => { process.nextTick(done, new Error('The Redis Cluster cannot be reached')) }
  return cluster
}
