import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { perform } from './asking.js'
import type { Intent, Storm } from './asking.js'
import type { Cluster, Member } from './cluster.js'
import type { Operation } from './history.js'

/** Servers must recover by themselves within this time. */
export const RECOVERY_MS = 10_000

/** Waits until every server reports that it is up. Resolves to the time that this took, in milliseconds. */
export async function recover ({ members }: Cluster): Promise<{ recoveryMs: number, health: string[] }> {
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

/** Waits for operations without a definite answer, which may still be in progress in PostgreSQL. */
export async function settle (postgres: PostgresServer, database: string): Promise<void> {
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

/** Looks up every token in PostgreSQL, and reads it at every server: at once, after Redis restarted from a snapshot before some logouts, and after a flush. Then tries every password. */
export async function lookAtEverything (storm: Storm, redis: RedisServer): Promise<void> {
  const { cluster: { members }, history } = storm
  const users = storm.users.filter(({ name }) => history.some(({ user }) => user === name))
  const anyone = members[0]!
  const everywhere = (tokens: Issued[]) => inParallel(tokens.flatMap(({ user, issued: token }) => members.map((member) =>
    () => conclude(storm, member, { kind: 'read', user, token }))))
  const issued = history.filter((operation): operation is Issued => operation.issued !== undefined)

  await inParallel(issued.map(({ user, issued: token }) => () => conclude(storm, anyone, { kind: 'fresh', user, token })))
  await everywhere(issued)
  const live = new Set(history.filter(({ final, status }) => final === true && status === 200).map(({ token }) => token))
  const leaving = issued.filter(({ issued: token }) => live.has(token)).filter((_, index) => index % 2 === 0)
  const client = new Redis(redis.url, { retryStrategy: () => 20 })
  client.on('error', () => {})
  await client.save()
  await inParallel(leaving.map(({ user, issued: token }) => () => conclude(storm, anyone, { kind: 'logout', user, token })))
  await redis.kill()
  await redis.start()
  await rm(join(redis.dir, 'dump.rdb'), { force: true })
  await everywhere(leaving)
  await recover(storm.cluster)
  await everywhere(leaving)

  await client.flushall()
  client.disconnect()
  await inParallel(users.map(({ name: user }) => () => conclude(storm, anyone, { kind: 'activate', user })))
  await everywhere(issued)
  await inParallel(users.flatMap(({ name: user, passwords }) => passwords.map((password) =>
    () => conclude(storm, anyone, { kind: 'login', user, password }))))
}

const AT_ONCE = 8
const DEFINITE_MS = 60_000

/** Repeats an operation until there is a definite answer, which counts as the one after the storm, because so many requests may overload a slow machine. */
async function conclude (storm: Storm, member: Member, intent: Intent): Promise<void> {
  const deadline = performance.now() + DEFINITE_MS
  let operation = await perform(storm, member, intent)
  while (operation !== null && (operation.status === null || operation.status === 503) && performance.now() < deadline) {
    await pause(50)
    operation = await perform(storm, member, intent)
  }
  if (operation !== null) operation.final = true
}

type Issued = Operation & { issued: number }

async function inParallel (tasks: (() => Promise<unknown>)[]): Promise<void> {
  const left = [...tasks].reverse()
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let task = left.pop(); task !== undefined; task = left.pop()) await task()
  }))
}
