import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import type { TcpProxy } from '../../helpers/tcp-proxy.js'
import type { Cluster } from './cluster.js'
import type { Random } from './random.js'

export interface FaultTargets {
  cluster: Cluster
  redis: RedisServer
  postgres: PostgresServer
  namespace: string
  /** Name of the storm's own database. */
  database: string
}

/** Begins a fault; what it returns ends it. */
export type Fault = (targets: FaultTargets, random: Random) => Promise<() => unknown>

const nothing = () => {}

/** A connection that is not in the way of the faults, for one use. */
async function askRedis<Result> ({ redis }: FaultTargets, ask: (client: Redis) => Promise<Result>): Promise<Result> {
  const client = new Redis(redis.url, { retryStrategy: () => 20 })
  client.on('error', nothing)
  try {
    return await ask(client)
  } finally {
    client.disconnect()
  }
}

async function connectTo ({ postgres }: FaultTargets, database: string): Promise<pg.Client> {
  const url = new URL(postgres.url)
  url.pathname = database
  const client = new pg.Client({ connectionString: url.href })
  client.on('error', nothing)
  await client.connect()
  return client
}

async function askPostgres (targets: FaultTargets, ask: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = await connectTo(targets, 'postgres')
  try {
    await ask(client)
  } finally {
    await client.end()
  }
}

async function keysOf (client: Redis, namespace: string): Promise<string[]> {
  const keys: string[] = []
  for await (const page of client.scanStream({ match: `${namespace}t:*`, count: 1000 })) keys.push(...page as string[])
  return keys
}

/** What nobody of ours writes: no text, other shapes, other versions, other tokens' entries, other readers' leases. */
const GARBAGE = ['', 'garbage', 'V', 'V{', 'V{}', 'V[]', 'Vnull', 'V{"v":1}', 'Lsomebody:1', 'RR', '\0', '0'.repeat(100_000)]

async function scribble (client: Redis, keys: string[], random: Random): Promise<void> {
  const entries = (await Promise.all(keys.map((key) => client.get(key).catch(() => null)))).filter((value) => value?.[0] === 'V') as string[]
  await Promise.all(keys.map(async (key, index) => {
    const other = entries[index % (entries.length || 1)]
    const isOwn = other === undefined || other.includes(key.slice(key.lastIndexOf(':') + 1))
    if (index % 7 === 3) return await client.multi().del(key).lpush(key, 'garbage').pexpire(key, 1000).exec()
    return await client.set(key, index % 3 === 0 && !isOwn ? other : random.pick(GARBAGE), 'PX', 1500)
  }))
}

/** Faults of Redis as a whole. */
export const REDIS_FAULTS: Record<string, Fault> = {
  'redis frozen': async ({ redis }) => { redis.freeze(); return redis.thaw },
  'redis killed, back empty': async ({ redis }) => {
    await redis.kill()
    return async () => { await rm(join(redis.dir, 'dump.rdb'), { force: true }); await redis.start() }
  },
  'redis back with an old snapshot': async (targets) => {
    const { redis } = targets
    await askRedis(targets, (client) => client.save())
    return async () => { await redis.kill(); await redis.start(); await rm(join(redis.dir, 'dump.rdb'), { force: true }) }
  },
  'redis flushed': async (targets) => { await askRedis(targets, (client) => client.flushall()); return nothing },
  'redis full of garbage': async (targets, random) => {
    await askRedis(targets, async (client) => await scribble(client, await keysOf(client, targets.namespace), random))
    return nothing
  },
  'redis evicts everything': async (targets) => {
    await askRedis(targets, (client) => client.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'allkeys-random'))
    return () => askRedis(targets, (client) => client.config('SET', 'maxmemory', '0', 'maxmemory-policy', 'noeviction'))
  },
  'redis full': async (targets) => {
    await askRedis(targets, (client) => client.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction'))
    return () => askRedis(targets, (client) => client.config('SET', 'maxmemory', '0'))
  },
  'redis read-only': async (targets) => {
    await askRedis(targets, (client) => client.replicaof('127.0.0.1', 1))
    return () => askRedis(targets, (client) => client.replicaof('NO', 'ONE'))
  },
  'redis drops its clients': async (targets) => { await askRedis(targets, (client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal')); return nothing },
  'redis drops its subscribers': async (targets) => { await askRedis(targets, (client) => client.call('CLIENT', 'KILL', 'TYPE', 'pubsub')); return nothing },
  'redis holds writes': async (targets, random) => {
    await askRedis(targets, (client) => client.call('CLIENT', 'PAUSE', random.between(50, 600), 'WRITE'))
    return nothing
  }
}

function between (way: 'redis' | 'postgres', begin: (proxy: TcpProxy, random: Random) => void): Fault {
  return async ({ cluster }, random) => {
    const proxy = random.pick(cluster.members)[way]
    begin(proxy, random)
    return proxy.pass
  }
}

/** Faults between one server and what it depends on. */
export const NETWORK_FAULTS: Record<string, Fault> = Object.fromEntries((['redis', 'postgres'] as const).flatMap((way) => [
  [`a server cut from ${way}`, between(way, (proxy) => proxy.cut())],
  [`a server's ${way} half open`, between(way, (proxy) => proxy.freeze())],
  [`a server's ${way} slow`, between(way, (proxy, random) => proxy.delay(random.pick([5, 40, 150, 300])))],
  [`a server's ${way} broken in mid-reply`, between(way, (proxy, random) => proxy.cutReplies(random.between(1, 3000)))],
  [`a server's ${way} reset`, between(way, (proxy) => proxy.reset())]
]))

/** Faults of PostgreSQL as a whole. */
export const POSTGRES_FAULTS: Record<string, Fault> = {
  'backends terminated': async (targets) => {
    await askPostgres(targets, (client) => client.query('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = $1', [targets.database]))
    return nothing
  },
  'backends terminated in transactions': async (targets) => {
    for (let round = 0; round < 20; round++) {
      await askPostgres(targets, (client) => client.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and xact_start is not null and pid <> pg_backend_pid()', [targets.database]))
    }
    return nothing
  },
  'postgres frozen': async ({ postgres }) => { await postgres.freeze(); return postgres.thaw },
  'postgres restarted': async ({ postgres }) => { await postgres.stop(); return postgres.start },
  'postgres crashed': async ({ postgres }) => { await postgres.crash(); return postgres.start },
  'postgres read-only': async (targets) => {
    const set = (value: string) => askPostgres(targets, async (client) => {
      await client.query(`alter system set default_transaction_read_only = ${value}`)
      await client.query('select pg_reload_conf()')
    })
    await set('on')
    return () => set('off')
  },
  'users locked': async (targets) => {
    const client = await connectTo(targets, targets.database)
    const unlock = () => client.end()
    await client.query('begin; select 1 from users order by id for update').catch(async (error) => { await unlock(); throw error })
    return unlock
  }
}

/** Faults of one server. */
export const SERVER_FAULTS: Record<string, Fault> = {
  'a server killed': async ({ cluster }, random) => {
    const member = random.pick(cluster.members)
    await member.kill()
    return member.start
  },
  'a server frozen': async ({ cluster }, random) => {
    const member = random.pick(cluster.members)
    member.freeze()
    return member.thaw
  }
}
