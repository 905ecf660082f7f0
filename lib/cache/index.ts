import { createSeal, UNSEALED } from '../crypto/seal.js'
import { INVALID_OPTION, UNAVAILABLE } from '../errors.js'
import type { Logger } from '../ports.js'
import type { Channel } from '../tools/channel.js'
import type { Settings } from '../options/read.js'
import type { RedisClient } from '../redis/client.js'
import { openSubscriber } from '../redis/subscriber.js'
import type { Database } from '../sql/index.js'
import { monotonicNow } from '../tools/monotonic.js'
import type { Digest } from '../../types/cache.js'
import type { Health } from '../../types/token-auth.js'
import { createFailureReporter } from './availability.js'
import type { ReportFailure } from './availability.js'
import { createDoubts } from './doubts.js'
import { createLocalWrites } from './local-writes.js'
import { createDatabaseLookup, createDatabaseRead } from './lookup.js'
import { openNear } from './near.js'
import { createServerId } from './peers.js'
import { openRedisSide } from './redis-side.js'
import { createRedisChannel } from './redis-channel.js'

export interface CacheParts {
  settings: Settings
  /** `null`: the cache is in this process. */
  redis: RedisClient | null
  database: Pick<Database, 'tokens' | 'members' | 'openChannel' | 'canListen' | 'key' | 'clock' | 'assertPrimary' | 'watchOutcomes'>
  onError: ReportFailure
  logger: Logger
}

export type OpenCache = ReturnType<typeof openCache>

const CANNOT_LISTEN = 'cache.near without redis needs a connection for LISTEN: pass database as a pg.Pool or as settings such as { connectionString }, or set cache.near.connection'

/** Opens the cache and the lookups through it. No I/O until `start`. */
export function openCache ({ settings, redis, database, onError, logger }: CacheParts) {
  const { cache: { ttlMs, near: leased, namespace }, lookup: { timeoutMs }, now } = settings
  const { clock, tokens: { find }, members } = database
  if (leased !== null && redis === null && !database.canListen) throw new INVALID_OPTION(CANNOT_LISTEN)
  const server = createServerId()
  const doubts = createDoubts()
  const report = (message: string) => createFailureReporter({ onError, logger, monotonicNow, message })
  const onNearFailure = report('the servers do not reach each other: this one does not answer from its memory, and revocations may wait for others')
  const reading = { find, clock, ttlMs, jitter: Math.random }
  const deadline = { timeoutMs, expired: () => new UNAVAILABLE() }

  const side = redis === null
    ? null
    : openRedisSide({
      cache: settings.cache,
      view: viewOf(settings),
      redis,
      serverKey: database.key,
      listStale: database.tokens.listStale,
      assertPrimary: database.assertPrimary,
      // A command is gone before anybody looks.
      isMarked: !settings.isCommand,
      doubts,
      reading,
      deadline,
      mayRead: () => leased?.leaseRedis !== true || near.isLeased(),
      withdraw: (digests) => near.withdraw(digests),
      report
    })
  const near = openNear({
    server,
    leaseMs: leased?.leaseMs ?? null,
    max: leased?.max ?? (redis === null ? settings.cache.max : null),
    ttlMs,
    channel: redis === null ? database.openChannel(server, (error) => onNearFailure('subscribe', error)) : redisChannel(redis),
    seal: redis === null ? UNSEALED : createSeal(database.key, 'message'),
    members,
    clock,
    now,
    monotonicNow,
    isTrusted: side?.isTrusted ?? (() => true),
    catchUp: side?.catchUp ?? (async () => {}),
    onFailure: onNearFailure
  })
  const writes = side ?? createLocalWrites({ near, doubts, timeoutMs, onFailure: onNearFailure })
  doubts.onBegin(near.clear)
  side?.onDoubt(near.clear)
  // The server may have been replaced, which a subscribed connection does not notice: other servers then publish through the new one.
  side?.onLoss(near.renew)
  const unwatch = database.watchOutcomes(writes.watcher)

  function redisChannel (client: RedisClient): Channel {
    return createRedisChannel({ openSubscriber: () => openSubscriber(client), publisher: client, name: `${namespace}n`, server, onFailure: (error) => onNearFailure('subscribe', error) })
  }

  // Before, because the cache may hang; and again afterwards, because a read in between has found the old entry.
  async function both (forget: (digests: readonly Digest[]) => void, write: (digests: readonly Digest[]) => Promise<boolean>, digests: readonly Digest[]): Promise<boolean> {
    forget(digests)
    return await write(digests).finally(() => forget(digests))
  }

  return {
    ...near.inFrontOf(side?.lookup ?? createDatabaseLookup(createDatabaseRead(reading), deadline)),
    /** Where a command finds this cache. `null`: nowhere, or it is notified in another way. */
    place: settings.isCommand || (redis === null && leased !== null) ? null : { keys: side?.keys ?? null },
    writeTombstones: async (digests: readonly Digest[]) => await both(near.end, writes.writeTombstones, digests),
    dropEntries: async (digests: readonly Digest[]) => await both(near.drop, writes.dropEntries, digests),
    holdsTombstone: side?.holdsTombstone ?? (async (digest: Digest) => near.hasEnded(digest)),
    /** Connects, and waits a second at most: the client goes on trying, and has logged what is wrong. */
    async start () {
      near.start()
      await side?.start()
    },
    async health (): Promise<Health['cache']> {
      return await side?.health() ?? 'in-process'
    },
    async close () {
      await Promise.all([unwatch(), writes.close(), near.close()])
    }
  }
}

// A registration with another condition for active users, other columns or another idle limit would have found something else in SQL.
function viewOf ({ map: { users: { idType, ...users }, tokens }, token: { idleTtlMs } }: Settings): string {
  return JSON.stringify([users, tokens, idleTtlMs])
}
