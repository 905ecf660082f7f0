import type { Cluster, Redis } from 'ioredis'
import type { RedisClient } from './client.js'

/** No request waits for a subscription, so it may take longer than a lookup. */
const SUBSCRIBE_TIMEOUT_MS = 5000

/**
 * Another connection with the settings of the client, for subscriptions: a subscribed one serves nothing else. It connects once. Of a Cluster it
 * is a connection to any master, because messages are sent to all nodes. @throws if none is known
 */
export function openSubscriber (client: RedisClient): Redis {
  // Every copy and version of ioredis has this property; the classes of two copies differ.
  const single = client.isCluster ? anyOf((client as Cluster).nodes('master')) : client as Redis
  const connectionName = [single.options.connectionName, 'near'].filter(Boolean).join('-')
  return single.duplicate({
    connectionName,
    lazyConnect: true,
    autoResubscribe: false,
    commandTimeout: SUBSCRIBE_TIMEOUT_MS,
    retryStrategy: () => null
  })
}

function anyOf (nodes: Redis[]): Redis {
  const node = nodes[Math.floor(Math.random() * nodes.length)]
  if (node === undefined) throw new Error('The Redis Cluster cannot be reached')
  return node
}
