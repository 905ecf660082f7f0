import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { PreparedClient } from '../../../lib/index.js'
import type { AuthPluginOptions } from '../../../lib/index.js'
import { caller, createApp, createUser, testOptions } from '../../helpers/app.js'
import { usedHeap } from '../../helpers/heap.js'
import { createRedisServer } from '../../helpers/redis-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { createDatabase, query } from '../../helpers/services.js'
import { until } from '../../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
await query(`create table users (id serial primary key, username text unique not null, password_hash text,
  active boolean not null default true, last_login timestamptz)`, database.url)

/** The limit of concurrent lookups: half of the pool, which is the default. */
const PLACES = 5
const QUEUE = 2
const CAPACITY = PLACES + QUEUE
const TOKENS = 20 * CAPACITY
const GATE = 4711

interface World {
  app: FastifyInstance
  redis: RedisServer
  /** 20 times as many as the capacity. */
  tokens: string[]
  /** Blocks every lookup from now on. */
  shut: () => Promise<void>
  open: () => Promise<void>
  /** The number of blocked lookups in PostgreSQL. */
  standing: () => Promise<number>
  /** Lookups of the pool: in progress, the maximum, and the total. */
  lookups: { active: number, peak: number, sent: number }
}

function createPool (t: Test): { pool: pg.Pool, lookups: World['lookups'] } {
  const lookups = { active: 0, peak: 0, sent: 0 }
  class LookupCountingClient extends PreparedClient {
    override query (...args: any[]): any {
      const asked = super.query(...args)
      if (!/^\/\*fta_/.test(String(args[0]))) return asked
      lookups.sent++
      lookups.active++
      lookups.peak = Math.max(lookups.peak, lookups.active)
      const over = () => { lookups.active-- }
      asked.then(over, over)
      return asked
    }
  }
  const pool = new pg.Pool({ connectionString: database.url, max: 2 * PLACES, Client: LookupCountingClient })
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return { pool, lookups }
}

// A statement that evaluates activeWhen waits for the lock inside PostgreSQL.
async function createGate (t: Test): Promise<Pick<World, 'shut' | 'open' | 'standing'>> {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  t.teardown(() => client.end())
  await client.query(`create or replace function pass_gate() returns boolean stable language plpgsql
    as 'begin perform pg_advisory_xact_lock_shared(${GATE}); return true; end'`)
  return {
    shut: async () => { await client.query(`select pg_advisory_lock(${GATE})`) },
    open: async () => { await client.query(`select pg_advisory_unlock(${GATE})`) },
    async standing () {
      const { rows } = await client.query("select count(*)::int from pg_stat_activity where datname = current_database() and wait_event = 'advisory'")
      return rows[0].count
    }
  }
}

async function createWorld (t: Test, lookup: AuthPluginOptions['lookup']): Promise<World> {
  const redis = await createRedisServer(t)
  await redis.start()
  const { pool, lookups } = createPool(t)
  const gate = await createGate(t)
  t.teardown(gate.open)
  const app = await createApp(t, testOptions(database.url, {
    database: pool,
    redis: { url: redis.url },
    users: { activeWhen: 'active and pass_gate()' },
    token: { maxPerUser: TOKENS },
    lookup: { queue: QUEUE, ...lookup },
    // Long enough that Redis does not time out on a busy machine.
    cache: { timeout: '5s' }
  }))
  const patient = await createApp(t, testOptions(database.url, { users: { activeWhen: 'active' }, token: { maxPerUser: TOKENS } }))
  const { id } = await createUser(patient)
  const tokens: string[] = []
  for (let i = 0; i < TOKENS; i++) tokens.push((await patient.tokenAuth.issueToken(id)).token)
  await patient.close()
  return { app, redis, tokens, lookups, ...gate }
}

const ask = async (app: FastifyInstance, token: string) => await app.inject({ url: '/protected', headers: { authorization: `Bearer ${token}` } })

/** Counts the replies of each kind, and marks a 503 without Retry-After. */
function kinds (replies: readonly LightMyRequestResponse[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const reply of replies) {
    const comesAgain = reply.statusCode !== 503 || /^[1-9]\d*$/.test(String(reply.headers['retry-after']))
    const kind = reply.statusCode === 200 ? '200' : `${reply.statusCode} ${String(reply.json().code).replace('FST_TOKEN_AUTH_', '')}${comesAgain ? '' : ' without Retry-After'}`
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

/** Sends all requests at once; `replies` grows as they are answered. */
function flood ({ app, tokens }: World): { replies: LightMyRequestResponse[], all: Promise<unknown> } {
  const replies: LightMyRequestResponse[] = []
  return { replies, all: Promise.all(tokens.map(async (token) => { replies.push(await ask(app, token)) })) }
}

async function isWarm ({ app, lookups }: World, token: string): Promise<boolean> {
  const before = lookups.sent
  return (await ask(app, token)).statusCode === 200 && lookups.sent === before
}

t.test('a server withstands 20 times its capacity with Redis stopped and SQL slow', async (t) => {
  const world = await createWorld(t, { maxWait: '1m', timeout: '1m' })
  const { app, redis, tokens, lookups, shut, open, standing } = world
  await redis.kill()
  await until(async () => (await app.tokenAuth.health()).cache === 'down', 'Redis is unavailable')
  lookups.peak = 0
  const heaps: number[] = []
  for (let wave = 0; wave < 8; wave++) {
    await shut()
    const { replies, all } = flood(world)
    await until(() => replies.length >= TOKENS - CAPACITY, 'the excess is refused')
    await until(async () => await standing() === PLACES, 'every place is taken')
    t.same([lookups.active, kinds(replies)], [PLACES, { '503 OVERLOADED': TOKENS - CAPACITY }])
    await open()
    await all
    t.same(kinds(replies), { 200: CAPACITY, '503 OVERLOADED': TOKENS - CAPACITY })
    heaps.push(await usedHeap())
  }
  t.equal(lookups.peak, PLACES)
  const growth = heaps.at(-1)! - heaps[1]!
  t.ok(growth < 2, `the heap does not grow: ${heaps.map((mb) => mb.toFixed(1)).join(', ')} MB`)
  t.comment(`6 waves of ${TOKENS} requests: ${growth.toFixed(2)} MB`)

  await t.test('recovers without a restart', async (t) => {
    for (const token of tokens.slice(0, CAPACITY)) t.equal((await ask(app, token)).statusCode, 200, 'without Redis')
    await redis.start()
    await until(async () => (await app.tokenAuth.health()).cache === 'up', 'Redis is back')
    for (const token of tokens) await until(() => isWarm(world, token), 'it is cached')
    const before = lookups.sent
    for (let round = 0; round < 3; round++) {
      const { replies, all } = flood(world)
      await all
      t.same(kinds(replies), { 200: TOKENS })
    }
    t.equal(lookups.sent, before, 'requests for cached tokens need no SQL')
    t.equal((await caller(app)('POST', '/auth/logout', { token: tokens[0]! })).statusCode, 204)
    t.same(kinds([await ask(app, tokens[0]!)]), { '401 INVALID_TOKEN': 1 })
  })
})

t.test('blocked lookups keep their places, and other requests do not wait for them', async (t) => {
  const world = await createWorld(t, { maxWait: '200ms', timeout: '6s' })
  const { app, tokens, lookups, shut, open, standing } = world
  await until(() => isWarm(world, tokens[0]!), 'it is cached')
  const cold = { ...world, tokens: tokens.slice(1) }
  await shut()
  lookups.peak = 0
  const first = flood(cold)
  await first.all
  t.same(kinds(first.replies), { '503 OVERLOADED': TOKENS - 1 - PLACES, '503 UNAVAILABLE': PLACES })
  for (let wave = 0; wave < 3; wave++) {
    const { replies, all } = flood(cold)
    await all
    t.same(kinds(replies), { '503 OVERLOADED': TOKENS - 1 })
    t.same([await standing(), lookups.active, lookups.peak], [PLACES, PLACES, PLACES])
  }
  t.ok(await isWarm(world, tokens[0]!), 'a cached token is still served')
  await open()
  for (const token of tokens) await until(() => isWarm(world, token), 'it is cached')
  const { replies, all } = flood(world)
  await all
  t.same(kinds(replies), { 200: TOKENS })
  t.equal((await app.tokenAuth.health()).database, 'up')
})
