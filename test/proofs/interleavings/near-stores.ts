import { Kysely, PostgresDialect } from 'kysely'
import type { Digest, TokenCache } from '../../../lib/index.js'
import type { FoundToken, Member, MemberStore, StalePage } from '../../../lib/ports.js'
import { createRedisCache } from '../../../lib/cache/redis-cache.js'
import type { RedisCommands } from '../../../lib/cache/redis-cache.js'
import { readTableMap } from '../../../lib/options/read.js'
import { createSql } from '../../../lib/sql/gateway.js'
import { createMemberStore } from '../../../lib/sql/members.js'
import { createTables } from '../../../lib/sql/tables.js'
import { createMemoryCache } from '../../helpers/memory-cache.js'
import type { ProtocolBench } from './bench.js'

export interface TokenRows {
  find (digest: Digest): Promise<FoundToken | null>
  /** Ends a token, and resolves to the digests that need a tombstone. */
  end (digest: Digest): Promise<Digest[]>
  /** What the host does before it calls `refreshUser`. */
  rename (): Promise<void>
  refresh (): Promise<Digest[]>
  listStale (): Promise<StalePage>
}

/** What the servers of one schedule share. */
export interface Stores {
  /** Two tokens of one user. */
  digests: [Digest, Digest]
  rows: TokenRows
  members: MemberStore
  /** Two Redis. The second one is used where Redis is replaced or split. */
  places: [TokenCache, TokenCache]
}

/** Creates the stores of a schedule. `isOwn`: whether a member is of this schedule. */
export type NextStores = (isOwn: (member: string) => boolean) => Promise<Stores>

const OLD = 'old'

/** The name that the user gets. */
export const RENAMED = 'renamed'

/** Stores whose calls are as atomic as a statement: for the races with very many orders. */
export const nextMemoryStores: NextStores = async () => {
  const digests: [Digest, Digest] = ['first', 'second']
  const rows = new Map(digests.map((digest) => [digest, { isLive: true, isStale: false }]))
  const members = new Map<string, Member>()
  const asOfMs = Date.now()
  let username = OLD
  const stale = (isLive: boolean) => [...rows].filter(([, row]) => row.isStale && row.isLive === isLive).map(([digest]) => digest)
  const newPlace = () => createMemoryCache({ max: 100, now: () => 0 })
  return {
    digests,
    rows: {
      async find (digest) {
        if (!rows.get(digest)!.isLive) return null
        return { record: { sessionId: digest, user: { id: 'user', username }, issuedAtMs: asOfMs, expiresAtMs: asOfMs + 1e9, idleAtMs: null, scopes: null }, asOfMs }
      },
      async end (digest) {
        rows.set(digest, { isLive: false, isStale: true })
        return [digest]
      },
      async rename () { username = RENAMED },
      async refresh () {
        for (const row of rows.values()) row.isStale = true
        return digests
      },
      listStale: async () => ({ revoked: stale(false), refreshed: stale(true) })
    },
    members: {
      async join (id, leaseMs) { if (!members.has(id)) members.set(id, { id, leaseMs, isExpelled: false }) },
      isMember: async (id) => members.get(id)?.isExpelled === false,
      list: async () => [...members.values()],
      async expel (ids) { for (const id of ids) if (members.has(id)) members.set(id, { ...members.get(id)!, isExpelled: true }) },
      async remove (ids) { for (const id of ids) members.delete(id) }
    },
    places: [newPlace(), newPlace()]
  }
}

/** PostgreSQL and Redis. Schedules that run at the same time share the tables, so each sees only what is its own. */
export function createRealStores ({ pool, redis, ports: { reader, revocations }, nextState }: ProtocolBench, namespace: string): NextStores {
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  const store = createMemberStore(createSql(db), createTables(readTableMap({})))
  const cacheAt = (place: string) => createRedisCache({ client: redis as unknown as RedisCommands, namespace: `${namespace}${place}:`, readTimeoutMs: 5000, close: async () => {} })
  const places: [TokenCache, TokenCache] = [cacheAt('0'), cacheAt('1')]

  return async (isOwn) => {
    const { userId, digests } = await nextState()
    return {
      digests: digests as [Digest, Digest],
      rows: {
        find: reader.find,
        end: async (digest) => (await revocations.token(digest, 'logout')).digests,
        async rename () { await pool.query('update users set username = id || $2 where id = $1', [userId, RENAMED]) },
        refresh: () => revocations.refresh(userId),
        // The real list has the tokens of all schedules.
        async listStale () {
          const { rows } = await pool.query('select encode(digest, \'base64\') as digest, revoked_at is null as live from auth_tokens where user_id = $1 and stale_at is not null', [userId])
          const of = (live: boolean) => rows.filter((row) => row.live === live).map((row) => Buffer.from(row.digest, 'base64').toString('base64url'))
          return { revoked: of(false), refreshed: of(true) }
        }
      },
      members: { ...store, list: async () => (await store.list()).filter(({ id }) => isOwn(id)) },
      places
    }
  }
}
