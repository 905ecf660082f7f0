import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { Test } from 'tap'
import { authPlugin } from '../../../lib/index.js'
import { fastHasher } from '../../helpers/app.js'
import { compile } from '../../helpers/compile.js'
import { createPostgresServer } from '../../helpers/postgres-server.js'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import { createRedisServer } from '../../helpers/redis-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { check } from './checker.js'
import { closeClients, perform, runClient } from './clients.js'
import type { Storm, StormUser } from './clients.js'
import { createCluster } from './cluster.js'
import type { Cluster } from './cluster.js'
import type { Operation } from './history.js'
import { CACHE_TTL_MS, optionsOf } from './modes.js'
import type { Mode } from './modes.js'
import { startNemesis } from './nemesis.js'
import { createRandom } from './random.js'
import type { StormReport } from './report.js'

const SERVERS = 3
const CLIENTS = 24
const USERS = 10
const MAX_PER_USER = 6
/** Recovery is unaided, and comes within this time. */
const RECOVERY_MS = 10_000

export interface Services { redis: RedisServer, postgres: PostgresServer, code: string }

/** A Redis and a PostgreSQL for storms, started. */
export async function startServices (t: Test): Promise<Services> {
  const [redis, postgres, code] = await Promise.all([createRedisServer(t), createPostgresServer(t), compile(t)])
  const services = { redis, postgres, code }
  await Promise.all([services.redis.start(), services.postgres.start()])
  t.teardown(closeClients)
  return services
}

export interface StormSettings {
  mode: Mode
  seed: number
  operations: number
  /** Life of a cached token; each mode has its own. */
  cacheTtlMs?: number
  /** Called at each tenth of the operations. */
  onProgress?: (percent: number) => void
}

/** Runs a storm, heals everything, looks whether all that was answered lasts, and checks the history. */
export async function runStorm (t: Test, services: Services, { mode, seed, operations, cacheTtlMs = CACHE_TTL_MS[mode], onProgress = () => {} }: StormSettings): Promise<StormReport> {
  const { options, bounds } = optionsOf(mode, cacheTtlMs)
  const database = `storm_${mode}`
  const users = await createUsers(services.postgres, database)
  const cluster = await createCluster(t, {
    size: SERVERS,
    code: services.code,
    database,
    redisPort: services.redis.port,
    postgresPort: services.postgres.port,
    options: {
      rateLimit: false,
      accountLimit: false,
      start: 'degraded',
      token: { maxPerUser: MAX_PER_USER },
      lookup: { timeout: 1000 },
      ...options
    }
  })
  const storm: Storm = { cluster, users, tokens: [], history: [], ended: [] }
  const startedAt = performance.now()
  const nemesis = startNemesis({ cluster, ...services, namespace: options.cache!.namespace!, database }, seed)
  const isOver = countDown(storm, operations, onProgress)
  await Promise.all(Array.from({ length: CLIENTS }, (_, index) => runClient(storm, createRandom(seed * 1000 + index), isOver)))
  const stormMs = performance.now() - startedAt
  await nemesis.stop()
  const { recoveryMs, health } = await recover(cluster)
  await settle(services.postgres, database)
  await recover(cluster)
  await lookAtEverything(storm, services)
  const verdict = check(storm.history, { ...bounds, maxPerUser: MAX_PER_USER })
  await Promise.all(cluster.members.map((member) => member.kill()))
  const troubles = [
    ...cluster.crashes,
    ...(recoveryMs > RECOVERY_MS ? [`the servers needed ${Math.round(recoveryMs)} ms to recover: ${health.join(' ')}`] : [])
  ]
  return { mode, seed, ...storm, faults: nemesis.faults, stormMs, recoveryMs, boundMs: bounds.boundMs, ...verdict, troubles }
}

function countDown ({ history }: Storm, operations: number, onProgress: (percent: number) => void): () => boolean {
  let told = 0
  return () => {
    const percent = Math.floor(10 * history.length / operations) * 10
    if (percent > told) onProgress(percent)
    told = percent
    return history.length >= operations
  }
}

async function createUsers (postgres: PostgresServer, database: string): Promise<StormUser[]> {
  const client = new pg.Client({ connectionString: postgres.url })
  await client.connect()
  await client.query(`drop database if exists ${database}`)
  await client.query(`create database ${database}`)
  await client.end()
  const url = new URL(postgres.url)
  url.pathname = database
  const app = Fastify()
  await app.register(authPlugin, { database: { connectionString: url.href }, autoMigrate: true, hasher: fastHasher, rateLimit: false, accountLimit: false })
  await app.ready()
  const users = await Promise.all(Array.from({ length: USERS }, async (_, index): Promise<StormUser> => {
    const password = `number ${index} has password 0`
    const { id, username } = await app.tokenAuth.createUser({ username: `user${index}`, password })
    return { name: username, id: String(id), passwords: [password], password, live: [] }
  }))
  await app.close()
  return users
}

/** Waits until every server says that it is up; how long that took, in milliseconds. */
async function recover ({ members }: Cluster): Promise<{ recoveryMs: number, health: string[] }> {
  const beganAt = performance.now()
  const healthOf = async (origin: string | null) => origin === null ? 'ended' : await fetch(`${origin}/test/health`).then(async (reply) => await reply.text(), String)
  let health: string[] = []
  while (performance.now() - beganAt < 3 * RECOVERY_MS) {
    health = await Promise.all(members.map(async ({ origin }) => await healthOf(origin)))
    if (health.every((text) => text === '{"database":"up","cache":"up"}')) break
    await pause(20)
  }
  return { recoveryMs: performance.now() - beganAt, health }
}

// What had no definite answer may still be under way in PostgreSQL.
async function settle (postgres: PostgresServer, database: string): Promise<void> {
  const client = new pg.Client({ connectionString: postgres.url })
  await client.connect()
  const deadline = performance.now() + 2 * RECOVERY_MS
  while (performance.now() < deadline) {
    const { rows } = await client.query('select 1 from pg_stat_activity where datname = $1 and xact_start is not null', [database])
    if (rows.length === 0) break
    await pause(50)
  }
  await client.end()
}

/** Reads every token at every server: at once, after Redis came back with a snapshot of before some logouts, and after it was flushed. Then tries every password. */
async function lookAtEverything (storm: Storm, { redis }: Services): Promise<void> {
  const { users, cluster: { members }, history } = storm
  const anyone = members[0]!
  const everywhere = (tokens: Issued[]) => inParallel(tokens.flatMap(({ user, issued: token }) => members.map((member) =>
    () => perform(storm, member, { kind: 'read', user, token, final: true }))))
  const issued = history.filter((operation): operation is Issued => operation.issued !== undefined)

  await everywhere(issued)
  const live = new Set(history.filter(({ final, status }) => final === true && status === 200).map(({ token }) => token))
  const leaving = issued.filter(({ issued: token }) => live.has(token)).filter((_, index) => index % 2 === 0)
  const client = new Redis(redis.url, { retryStrategy: () => 20 })
  client.on('error', () => {})
  await client.save()
  await inParallel(leaving.map(({ user, issued: token }) => () => perform(storm, anyone, { kind: 'logout', user, token, final: true })))
  await redis.kill()
  await redis.start()
  await rm(join(redis.dir, 'dump.rdb'), { force: true })
  await everywhere(leaving)
  await recover(storm.cluster)
  await everywhere(leaving)

  await client.flushall()
  client.disconnect()
  await inParallel(users.map(({ name: user }) => () => perform(storm, anyone, { kind: 'activate', user, final: true })))
  await everywhere(issued)
  await inParallel(users.flatMap(({ name: user, passwords }) => passwords.map((password) =>
    () => perform(storm, anyone, { kind: 'login', user, password, final: true }))))
}

type Issued = Operation & { issued: number }

async function inParallel (tasks: (() => Promise<unknown>)[]): Promise<void> {
  const left = [...tasks].reverse()
  await Promise.all(Array.from({ length: CLIENTS }, async () => {
    for (let task = left.pop(); task !== undefined; task = left.pop()) await task()
  }))
}
