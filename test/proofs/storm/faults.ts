import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import type { Cluster } from './cluster.js'
import type { Random } from './random.js'
import { keysOf, misplace, scribble } from './redis-entries.js'

export interface FaultTargets {
  cluster: Cluster
  redis: RedisServer
  postgres: PostgresServer
  namespace: string
  /** Name of the storm's own database. */
  database: string
}

/** Ends a fault. */
export interface Heal {
  (): unknown
  /** How often the fault has occurred, if it waits for an event. */
  strikes? (): number
}

/** Begins a fault. */
export type Fault = (targets: FaultTargets, random: Random) => Promise<Heal>

const nothing = () => {}

/** Uses a temporary connection that the faults do not affect. */
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
  'redis with entries of other tokens': async (targets, random) => {
    await askRedis(targets, async (client) => await misplace(client, await keysOf(client, targets.namespace), random))
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
