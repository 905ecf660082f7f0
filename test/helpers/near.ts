import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { AuthEvents, AuthPluginOptions } from '../../lib/index.js'
import { caller, createApp, createUser, login, testOptions } from './app.js'
import { countingPool } from './pools.js'
import { redisUrl, uniqueNamespace } from './services.js'
import { until } from './until.js'
import { watchRedis } from './watch-redis.js'

/** A server with a near cache, whose clock can be moved. */
export interface Server {
  app: FastifyInstance
  /** The name of its subscribed connection. */
  name: string
  statements: string[]
  clock: { aheadMs: number }
  failures: AuthEvents['cacheError'][]
  get: (token: string) => Promise<number>
}

export interface Pair {
  a: Server
  b: Server
  redis: Redis
  take: () => Promise<string[]>
  namespace: string
  /** The Redis commands and SQL statements of a request with the token. */
  cost: (server: Server, token: string) => Promise<string[]>
  /** Repeats the request until it needs no command and no statement. */
  warm: (server: Server, token: string) => Promise<void>
}

export type Options = Omit<Partial<AuthPluginOptions>, 'redis'> & { redis?: RedisOptions | null }

/** What a server does now and then without a request: see lib/cache/membership.ts. */
const isUpkeep = (query: string) => query.includes('_members') || query === 'publish' || query === 'subscribe'

export async function createServer (t: Test, databaseUrl: string, namespace: string, { redis = {}, cache, ...more }: Options): Promise<Server> {
  const { pool, statements } = countingPool(t, databaseUrl)
  const clock = { aheadMs: 0 }
  const failures: AuthEvents['cacheError'][] = []
  const connectionName = `app-${randomBytes(16).toString('hex')}`
  const app = await createApp(t, testOptions(databaseUrl, {
    database: pool,
    ...redis === null ? { redis: null } : { redis: { ...redis.port === undefined ? { url: redisUrl() } : {}, connectionName, ...redis } },
    now: () => Date.now() + clock.aheadMs,
    hooks: { onCacheError: (event) => { failures.push(event) } },
    ...more,
    cache: { namespace, near: true, ...cache }
  }))
  const get = async (token: string) => (await caller(app)('GET', '/protected', { token })).statusCode
  return { app, name: `${connectionName}-near`, statements, clock, failures, get }
}

/** Two servers over one PostgreSQL, and one Redis if they have one. */
export async function createPair (t: Test, databaseUrl: string, options: Options = {}, ofA: Options = {}): Promise<Pair> {
  const namespace = uniqueNamespace()
  const { redis, take } = await watchRedis(t, namespace)
  const a = await createServer(t, databaseUrl, namespace, { ...options, ...ofA })
  const b = await createServer(t, databaseUrl, namespace, options)
  async function cost (server: Server, token: string): Promise<string[]> {
    await take()
    server.statements.length = 0
    await server.get(token)
    return [...await take(), ...server.statements].filter((query) => !isUpkeep(query))
  }
  const warm = async (server: Server, token: string) => await until(async () => (await cost(server, token)).length === 0, 'a request needs no query')
  return { a, b, redis, take, namespace, cost, warm }
}

export async function session ({ app }: Server): Promise<string> {
  return await login(app, (await createUser(app)).username)
}

export async function logout ({ app }: Server, token: string): Promise<number> {
  return (await caller(app)('POST', '/auth/logout', { token })).statusCode
}

/** Cuts the subscribed connection of a server. */
export async function cut (redis: Redis, { name }: Server): Promise<void> {
  const line = String(await redis.client('LIST', 'TYPE', 'PUBSUB')).split('\n').find((line) => line.includes(`name=${name} `))
  await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'ID', /\bid=(\d+)/.exec(line!)![1]!)
}

/** The operations that Redis has refused a server. */
export function refused ({ failures }: Pick<Server, 'failures'>): string[] {
  return failures.filter(({ error }) => /^Redis answered NOPERM to [A-Z]+$/.test(error.message)).map(({ operation }) => operation)
}

export async function createAclUser (t: Test, redis: Redis, ...rules: string[]): Promise<{ username: string, password: string }> {
  const username = uniqueNamespace().slice(0, -1)
  await redis.call('ACL', 'SETUSER', username, 'on', '>secret', ...rules)
  t.teardown(() => redis.call('ACL', 'DELUSER', username).catch(() => {}))
  return { username, password: 'secret' }
}

/** `request.user` of a request with the token. */
export async function resolveUser (app: FastifyInstance, token: string): Promise<any> {
  const request = { raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] }, user: null, auth: null }
  await app.authenticate.with({ scopes: 'any' })(request as never, { header () {} } as never)
  return request.user
}
