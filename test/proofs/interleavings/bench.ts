import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'
import { PreparedClient } from '../../../lib/index.js'
import type { Digest, TokenCache } from '../../../lib/index.js'
import type { RevocationStore, SessionStore, TokenStore, UserStore } from '../../../lib/ports.js'
import { readTableMap } from '../../../lib/options/read.js'
import { createCacheAvailability } from '../../../lib/cache/availability.js'
import type { CacheAvailability } from '../../../lib/cache/availability.js'
import { createMemoryCache } from '../../helpers/memory-cache.js'
import { migrateUp } from '../../../lib/sql/migrations/index.js'
import { createRedisCache } from '../../../lib/cache/redis-cache.js'
import type { RedisCommands } from '../../../lib/cache/redis-cache.js'
import { createRevocationStore } from '../../../lib/sql/revocations.js'
import { createSessionStore } from '../../../lib/sql/sessions.js'
import { createSql } from '../../../lib/sql/gateway.js'
import { createTables } from '../../../lib/sql/tables.js'
import { createTokenStore } from '../../../lib/sql/tokens.js'
import { createUserStore } from '../../../lib/sql/users.js'
import type { Wrap } from '../../../lib/testing/index.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../../helpers/services.js'
import { SILENT } from '../../helpers/silent.js'

export const CACHE_TTL_MS = 60_000
/** How many schedules run concurrently; each has its own rows and keys. */
export const CONCURRENCY = 16

/** A user with two tokens. The first is the one that is read and revoked. */
export interface State {
  userId: string
  username: string
  sessionId: string
  otherSessionId: string
  digest: Digest
  digests: Digest[]
}

/** The ports that a server uses. */
export interface Ports {
  users: UserStore
  reader: TokenStore
  sessions: SessionStore
  /** The same with one token per user, so that a login displaces a session. */
  crowded: SessionStore
  revocations: RevocationStore
  cache: TokenCache
  /** The second server's lookup. */
  findOnB: TokenStore['find']
  /** A request arrives. The step includes everything that the server does before its first read of the cache. */
  request: { begin (): Promise<void> }
}

export interface ProtocolBench {
  ports: Omit<Ports, 'findOnB' | 'request'>
  availability: CacheAvailability
  pool: pg.Pool
  redis: Redis
  keyOf (digest: Digest): string
  nextState (): Promise<State>
}

/** The default isolation level that a host may have set. */
export type Isolation = 'read committed' | 'repeatable read' | 'serializable'

/** The real stores with their own database and namespace. `memory` uses the in-process cache. */
export async function openProtocolBench (t: Test, kind: 'redis' | 'memory' = 'redis', isolation: Isolation = 'read committed'): Promise<ProtocolBench> {
  const database = await createDatabase()
  // There is no power failure here, so thousands of commits need not wait for the disk.
  const options = `-c synchronous_commit=off -c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`
  const pool = new pg.Pool({ connectionString: database.url, Client: PreparedClient, max: CONCURRENCY, options })
  // The database may be dropped while the last of its connections is still closing.
  pool.on('error', () => {})
  const redis = new Redis(redisUrl(), { enableAutoPipelining: true })
  t.teardown(async () => {
    await redis.quit()
    await pool.end()
    await database.drop()
  })
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  const map = readTableMap({})
  await migrateUp(db, map)
  const [sql, tables, namespace] = [createSql(db), createTables(map), uniqueNamespace()]
  const availability = createCacheAvailability({ monotonicNow: () => performance.now(), onError: (operation, error) => { throw new Error(`the cache failed: ${operation}`, { cause: error }) } })
  availability.trust()
  return {
    ports: {
      users: createUserStore(sql, tables, SILENT),
      reader: createTokenStore(sql, tables, { idleTtlMs: null, cacheTtlMs: CACHE_TTL_MS }),
      sessions: createSessionStore(sql, tables, { maxPerUser: 100, cacheTtlMs: CACHE_TTL_MS }),
      crowded: createSessionStore(sql, tables, { maxPerUser: 1, cacheTtlMs: CACHE_TTL_MS }),
      revocations: createRevocationStore(sql, tables, { cacheTtlMs: CACHE_TTL_MS }),
      cache: kind === 'memory'
        ? createMemoryCache({ max: 100_000, now: () => performance.now() })
        : createRedisCache({ client: redis as unknown as RedisCommands, namespace, readTimeoutMs: 5000, close: async () => {} })
    },
    availability,
    pool,
    redis,
    keyOf: (digest) => `${namespace}t:${digest}`,
    nextState: createStates(pool)
  }
}

/**
 * The same ports, with each call as a step. The reply of a lookup is a step too: a logout may return before the reply, and the
 * next request of that server may arrive. The second server has only one request, so its reply affects nothing.
 */
export function wrapPorts (wrap: Wrap, { users, reader, sessions, crowded, revocations, cache }: ProtocolBench['ports']): Ports {
  return {
    request: wrap('request', { begin: async () => {} }),
    findOnB: wrap('sql', reader).find,
    users: wrap('sql', users),
    reader: wrap('sql', reader, { replies: ['find'] }),
    sessions: wrap('sql', sessions),
    crowded: wrap('sql', crowded),
    revocations: wrap('sql', revocations),
    cache: wrap('cache', cache)
  }
}

const BATCH = 500

// Created in advance, because two statements per schedule would take as long as the schedule.
function createStates (pool: pg.Pool): () => Promise<State> {
  let ready: State[] = []
  let making: Promise<void> | null = null
  let made = 0

  async function make (): Promise<void> {
    const names = Array.from({ length: BATCH }, () => `user${made++}`)
    const owners = [...names, ...names]
    const { rows } = await pool.query(`with owners as (
        insert into users (username, password_hash) select unnest($1::text[]), 'hash of old' returning id, username
      ), given as (
        insert into auth_tokens (digest, user_id, expires_at)
        select digest, owners.id, now() + interval '1 day' from unnest($2::bytea[], $3::text[]) as new(digest, username) join owners using (username)
        returning id, digest, user_id
      ) select user_id, username, array_agg(given.id) as ids, array_agg(digest) as digests
        from given join owners on owners.id = user_id group by user_id, username`, [names, owners.map(() => randomBytes(32)), owners])
    ready = rows.map(({ user_id: userId, username, ids, digests }) => {
      const texts = digests.map((digest: Buffer) => digest.toString('base64url'))
      return { userId, username, sessionId: ids[0], otherSessionId: ids[1], digest: texts[0], digests: texts }
    })
  }

  return async () => {
    while (ready.length === 0) await (making ??= make().finally(() => { making = null }))
    return ready.pop()!
  }
}
