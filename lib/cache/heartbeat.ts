import { randomBytes } from 'node:crypto'
import type { RedisClient } from '../redis/client.js'
import { createRepeated } from '../tools/repeated.js'

export interface Heartbeat {
  /** Begins anew with what Redis holds now, and beats every second from then on. Rejects if Redis takes no writes. */
  begin (): Promise<void>
  /** Await it after a write that Redis must not lose unnoticed. */
  beat (): Promise<void>
  close (): void
}

export interface HeartbeatSettings {
  redis: Pick<RedisClient, 'eval' | 'isCluster'>
  namespace: string
  /** Called when Redis has lost writes of this process. */
  onLost: () => void
}

/** A server notices lost writes after this time at the latest. */
const INTERVAL_MS = 1000
/** Long, because a Redis that evicts first what ends soon would otherwise seem to have lost it. */
const LIFE_MS = 86_400_000

// What has been written over the count, even of another type, has lost it.
const SWAP = `local before = redis.pcall('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return type(before) == 'string' and before`

/**
 * Counts in a key of this process, and looks whether Redis still has the latest number. A Redis can lose writes while the connection stays: a proxy
 * hides a restart or a failover, or `SWAPDB` and `REPLICAOF` replace its data. Replication keeps the order of writes: if a beat is not lost, no
 * write before it is. On a Cluster the first beat is the only one: a count on one of the masters says nothing about the others, and a revocation
 * would depend on that master.
 */
export function createHeartbeat ({ redis, namespace, onLost }: HeartbeatSettings): Heartbeat {
  const key = `${namespace}server:${randomBytes(9).toString('base64url')}`
  const beats = createRepeated({ work: beat, intervalMs: INTERVAL_MS, retryMs: INTERVAL_MS, onFailure: ignore })
  let sent = 0
  let acknowledged = 0

  // Of a beat without an answer it is unknown whether Redis has it.
  async function beat (): Promise<void> {
    const count = ++sent
    const before = await redis.eval(SWAP, 1, key, count, LIFE_MS)
    const isLost = !(Number(before) >= acknowledged)
    acknowledged = count
    if (isLost) onLost()
  }

  return {
    async begin () {
      acknowledged = 0
      await (redis.isCluster ? beat() : beats.run())
    },
    beat: async () => { if (!redis.isCluster) await beat() },
    close: beats.close
  }
}

// The availability of the cache reports what is wrong with Redis.
function ignore (): void {}
