import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { createCacheAvailability } from '../../../lib/cache/availability.js'
import { createRedisCache } from '../../../lib/cache/redis-cache.js'
import type { RedisCommands } from '../../../lib/cache/redis-cache.js'
import { openRedis } from '../../../lib/redis/client.js'
import { exploreInterleavings } from '../../../lib/testing/index.js'
import type { InterleavingReport } from '../../../lib/testing/index.js'
import type { TokenCache } from '../../../lib/index.js'
import { CACHE_TTL_MS } from './bench.js'
import type { ProtocolBench } from './bench.js'
import { ACTORS, lateReader } from './processes.js'
import { revoke, REVOKERS } from './revokers.js'
import { createWorld } from './world.js'
import type { World } from './world.js'
import { createRedisServer } from '../../helpers/redis-server.js'

const logger = { info () {}, warn () {}, error () {} }

export interface ReplayedFill {
  /** The settings of the connection that fills. */
  settings: 'default' | 'ours'
  /** Whether it overwrites any value, or only its own lease. */
  fill: 'unconditional' | 'with lease'
}

/** A restart takes a while, so this one schedule is run instead of a search. The steps that follow have only one order. */
const SCHEDULE = [
  'reader A: cache.get',
  'reader A: cache.getOrLease',
  'reader A: sql.find',
  'logout: sql.token',
  'reader A: sql.find reply',
  'logout: cache.tombstone',
  'redis: redis.kill',
  'reader A: cache.fill',
  'redis: redis.restart'
]

interface Restarting extends World {
  redis: { kill (): Promise<void>, restart (): Promise<void> }
}

/** A Redis that is killed after the logout and restarts empty while a reader fills. */
export async function createReplayedFill (t: Test, bench: ProtocolBench) {
  const server = await createRedisServer(t)
  await server.start()
  const clients = { default: new Redis(server.url), ours: openRedis({ url: server.url }, logger) as Redis }
  const own = openRedis({ url: server.url }, logger) as Redis
  const everyone = [clients.default, clients.ours, own]
  for (const client of everyone) {
    client.on('error', () => {})
    t.teardown(() => client.disconnect())
  }
  await Promise.all([clients.ours.connect(), own.connect()])

  async function kill (): Promise<void> {
    const lost = everyone.map((client) => new Promise((resolve) => client.once('close', resolve)))
    await server.kill()
    await Promise.all(lost)
  }

  async function restart (): Promise<void> {
    const ready = everyone.map((client) => new Promise((resolve) => client.once('ready', resolve)))
    await server.start()
    await Promise.all(ready)
    // Commands that were queued before are answered before.
    await Promise.all(everyone.map((client) => client.ping()))
  }

  return async ({ settings, fill: kind }: ReplayedFill): Promise<InterleavingReport> => {
    const client = clients[settings]
    const plain = createRedisCache({ client: own as unknown as RedisCommands, namespace: '', readTimeoutMs: 5000, close: async () => {} })
    const leasing = createRedisCache({ client: client as unknown as RedisCommands, namespace: '', readTimeoutMs: 5000, close: async () => {} })
    const send: TokenCache['fill'] = kind === 'with lease' ? leasing.fill : async (digest, _lease, value) => { await client.set(`t:${digest}`, value, 'PX', CACHE_TTL_MS) }
    const cache: TokenCache = {
      ...plain,
      // Readers do not wait for the fill, which may take until Redis is back.
      fill: async (...args) => { send(...args).catch(() => {}) }
    }
    const availability = createCacheAvailability({ monotonicNow: () => 0, onError () {} })
    availability.trust()
    return await exploreInterleavings<Restarting>({
      setup: async (wrap) => ({
        ...await createWorld({ ...bench, availability, ports: { ...bench.ports, cache } }, wrap),
        redis: wrap('redis', { kill, restart })
      }),
      processes: {
        'reader A': ACTORS['reader A'],
        logout: (world) => revoke(REVOKERS['logout']!, world),
        redis: { after: 'logout', run: async ({ redis }) => { await redis.kill(); await redis.restart() } },
        'late reader': { after: 'redis', run: lateReader }
      },
      schedule: SCHEDULE
    })
  }
}
