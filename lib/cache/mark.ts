import { createHmac } from 'node:crypto'
import type { ServerKey } from '../crypto/seal.js'
import type { RedisClient } from '../redis/client.js'
import type { ConnectionListener } from '../redis/connection.js'
import { createRepeated } from '../tools/repeated.js'

/** A server writes it this often, and when it connects. */
const INTERVAL_MS = 5000
/** A mark that was written before that is of servers that have ended, or moved to another Redis. */
const RECENT_MS = 6 * INTERVAL_MS
/** Long, for a Redis that evicts first what ends soon. The remaining life shows how long ago the mark was written. */
const LIFE_MS = 86_400_000

/** A key by which a command recognizes the Redis of the servers that run on its database. */
async function keyOf (namespace: string, serverKey: ServerKey): Promise<string> {
  return `${namespace}servers:${createHmac('sha256', await serverKey.load()).update('mark of the servers').digest('base64url')}`
}

export async function hasMark (redis: RedisClient, namespace: string, serverKey: ServerKey): Promise<boolean> {
  return await redis.pttl(await keyOf(namespace, serverKey)) > LIFE_MS - RECENT_MS
}

export interface MarkSettings {
  redis: RedisClient
  namespace: string
  serverKey: ServerKey
  /** Calls back at every connection and loss. */
  onConnection (listener: ConnectionListener): void
}

export function createMark ({ redis, namespace, serverKey, onConnection }: MarkSettings) {
  const mark = createRepeated({
    work: async () => await redis.set(await keyOf(namespace, serverKey), '', 'PX', LIFE_MS),
    intervalMs: INTERVAL_MS,
    retryMs: INTERVAL_MS,
    onFailure: ignore
  })

  return {
    start () { onConnection((isConnected) => { if (isConnected) mark.run().catch(ignore) }) },
    close: mark.close
  }
}

// The availability of the cache reports what is wrong with Redis.
function ignore (): void {}
