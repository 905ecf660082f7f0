import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { Test } from 'tap'
import { PreparedClient } from '../../../lib/index.js'
import type { AuthPluginOptions } from '../../../lib/index.js'
import { digestOf } from '../../../lib/crypto/token.js'
import { caller, createApp, createUser, PASSWORD, testOptions } from '../../helpers/app.js'
import { createRedisServer } from '../../helpers/redis-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { uniqueNamespace } from '../../helpers/services.js'
import { createTcpProxy } from '../../helpers/tcp-proxy.js'
import type { TcpProxy } from '../../helpers/tcp-proxy.js'
import { until } from '../../helpers/until.js'

/** The time limit for a statement or a transaction: shorter than `lock_timeout`. */
export const LOOKUP_MS = 1900

/** Two servers over one Redis and one PostgreSQL. */
export interface World {
  /** The server that gets the requests during a fault. */
  asked: FastifyInstance
  other: FastifyInstance
  redis: RedisServer
  /** Connects to Redis directly, without the faults between Redis and a server. */
  admin: Redis
  /** Proxies of the server that gets the requests. */
  redisWay: TcpProxy
  postgresWay: TcpProxy
  /** Proxy between the other server and Redis. */
  otherRedisWay: TcpProxy
  /** Pool of the server that gets the requests. */
  pool: pg.Pool
  namespace: string
  /** One more server, closed with the test. */
  boot (t: Test, options?: Partial<AuthPluginOptions>): Promise<FastifyInstance>
}

function createPool (t: Test, databaseUrl: string, { port }: TcpProxy): pg.Pool {
  const url = new URL(databaseUrl)
  url.host = `127.0.0.1:${port}`
  // The settings that the plugin uses when it creates the pool itself.
  const limits = { max: 10, connectionTimeoutMillis: 2000, statement_timeout: 5000, lock_timeout: 2000, idle_in_transaction_session_timeout: 10_000 }
  const pool = new pg.Pool({ connectionString: url.href, Client: PreparedClient, ...limits })
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return pool
}

/** Starts Redis and both servers. */
export async function createWorld (t: Test, databaseUrl: string): Promise<World> {
  const { hostname, port } = new URL(databaseUrl)
  const redis = await createRedisServer(t)
  await redis.start()
  const admin = new Redis(redis.url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  admin.on('error', () => {})
  t.teardown(() => admin.disconnect())
  const [redisWay, otherRedisWay] = [await createTcpProxy(t, { port: redis.port }), await createTcpProxy(t, { port: redis.port })]
  const postgresWay = await createTcpProxy(t, { host: hostname, port: Number(port) })
  const pool = createPool(t, databaseUrl, postgresWay)
  const namespace = uniqueNamespace()
  const optionsOf = (options: Partial<AuthPluginOptions>) => testOptions(databaseUrl, {
    redis: { url: redis.url },
    rateLimit: { max: 100_000, localMax: 100_000 },
    lookup: { timeout: LOOKUP_MS },
    // Waiting for a server's recovery needs many logins.
    token: { maxPerUser: 10_000 },
    cache: { namespace },
    ...options
  })
  const boot = async (t: Test, options: Partial<AuthPluginOptions> = {}) => await createApp(t, optionsOf(options))
  const over = ({ port }: TcpProxy) => ({ redis: { url: `redis://127.0.0.1:${port}` } })
  const other = await boot(t, over(otherRedisWay))
  const asked = await boot(t, { ...over(redisWay), database: pool })
  return { asked, other, redis, admin, redisWay, otherRedisWay, postgresWay, pool, namespace, boot }
}

/** The users and tokens of one row. */
export interface Cast {
  id: string | number
  username: string
  /** Is in Redis as live. */
  cached: string
  /** Never read. */
  uncached: string
  /** Is in Redis as live, and is logged out during the fault. */
  leaving: string
  /** Was in Redis as live; its logout has been answered with 204. */
  revoked: string
}

/** The Redis key of a token. */
export function keyOf ({ namespace }: World, token: string): string {
  return `${namespace}t:${digestOf(token)}`
}

/** `beforeLogout` runs while all tokens are live. */
export async function createCast (world: World, beforeLogout: (world: World) => Promise<unknown>): Promise<Cast> {
  const { asked, other, admin } = world
  const { id, username } = await createUser(other)
  const issue = async () => (await other.tokenAuth.issueToken(id)).token
  const cast = { id, username, cached: await issue(), uncached: await issue(), leaving: await issue(), revoked: await issue() }
  for (const token of [cast.cached, cast.leaving, cast.revoked]) {
    await until(async () => await read(asked, token) === '200' && (await admin.get(keyOf(world, token)))?.[0] === 'V', 'the token is cached')
  }
  await beforeLogout(world)
  const outcome = await logout(other, cast.revoked)
  if (outcome !== '204') throw new Error(`the logout was answered ${outcome}`)
  return cast
}

type Reply = Awaited<ReturnType<ReturnType<typeof caller>>>

/** For example `200` or `503 UNAVAILABLE`. */
function outcomeOf (reply: Reply): string {
  if (reply.statusCode < 400) return String(reply.statusCode)
  return `${reply.statusCode} ${String(reply.json().code).replace('FST_TOKEN_AUTH_', '')}`
}

/** How a protected route answers. */
export async function read (server: FastifyInstance, token: string): Promise<string> {
  return outcomeOf(await caller(server)('GET', '/protected', { token }))
}

export async function me (server: FastifyInstance, token: string): Promise<string> {
  return outcomeOf(await caller(server)('GET', '/auth/me', { token }))
}

export async function login (server: FastifyInstance, username: string): Promise<string> {
  return outcomeOf(await caller(server)('POST', '/auth/login', { body: { username, password: PASSWORD } }))
}

export async function logout (server: FastifyInstance, token: string): Promise<string> {
  return outcomeOf(await caller(server)('POST', '/auth/logout', { token }))
}
