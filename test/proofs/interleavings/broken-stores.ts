import { randomUUID } from 'node:crypto'
import type { CachedRecord } from '../../../lib/cache/entry.js'
import type { TokenLookup } from '../../../lib/cache/lookup.js'
import type { Wrap } from '../../../lib/testing/index.js'
import type { Ports, ProtocolBench } from './bench.js'
import { CACHE_TTL_MS } from './bench.js'
import type { ActorName } from './processes.js'
import { read } from './world.js'
import type { Breakage } from './world.js'

export interface Control {
  /** The smallest race that shows the mistake. */
  revoker: string
  actors: ActorName[]
  broken: Breakage
}

/** Redis without the protocol, as simpler stores use it. */
function plainRedis (wrap: Wrap, { redis, keyOf }: ProtocolBench) {
  return wrap('cache', {
    peek: async (digest: string) => await redis.get(keyOf(digest)),
    set: async (digest: string, value: string) => { await redis.set(keyOf(digest), value, 'PX', CACHE_TTL_MS) },
    setNX: async (digest: string, value: string) => { await redis.set(keyOf(digest), value, 'PX', CACHE_TTL_MS, 'NX') },
    del: async (digests: readonly string[]) => { await redis.del(...digests.map(keyOf)) }
  })
}

/** `DEL` on logout with leases on fill, which is correct. */
export const DELETE_WITH_LEASES: Breakage = {
  steps: (ports, wrap, bench) => {
    const { del } = plainRedis(wrap, bench)
    return { ...ports, cache: { ...ports.cache, tombstone: del } }
  }
}

/** Simpler protocols, each of which accepts a revoked token. */
export const CONTROLS: Record<string, Control> = {
  'DEL instead of tombstone': {
    revoker: 'logout',
    actors: ['reader A'],
    broken: {
      // The cache-aside pattern: readers fill, writers delete.
      steps: (ports, wrap, bench) => {
        const { del, set } = plainRedis(wrap, bench)
        return { ...ports, cache: { ...ports.cache, tombstone: del, fill: (digest, _lease, value) => set(digest, value) } }
      }
    }
  },
  'SET NX fill': {
    revoker: 'logout',
    actors: ['reader A', 'eviction'],
    broken: {
      steps: (ports, wrap, bench) => {
        const { peek, setNX } = plainRedis(wrap, bench)
        const getOrLease = async (digest: string, lease: string) => await peek(digest) ?? lease
        return { ...ports, cache: { ...ports.cache, getOrLease, fill: (digest, _lease, value) => setNX(digest, value) } }
      }
    }
  },
  'fill without lease': {
    revoker: 'logout',
    actors: ['reader A'],
    broken: {
      steps: (ports, wrap, bench) => {
        const { set } = plainRedis(wrap, bench)
        return { ...ports, cache: { ...ports.cache, fill: (digest, _lease, value) => set(digest, value) } }
      }
    }
  },
  'joined running query': {
    revoker: 'logout',
    actors: ['reader A', 'eviction'],
    broken: { store: joiningRuns }
  },
  'plain INSERT on login': {
    revoker: 'change-password',
    actors: ['login'],
    broken: { steps: (ports, wrap, bench) => ({ ...ports, sessions: { ...ports.sessions, login: plainInsert(wrap, bench) } }) }
  },
  'tombstone before commit': {
    revoker: 'logout',
    actors: ['reader A', 'eviction'],
    broken: { steps: (ports) => ({ ...ports, revocations: { ...ports.revocations, token: tombstoneFirst(ports) } }) }
  },
  'tombstones only for what the call itself ended': {
    revoker: 'change-password',
    actors: ['reader A', 'dying logout'],
    broken: { steps: (ports, wrap, bench) => ({ ...ports, sessions: { ...ports.sessions, changePassword: tellOwnOnly(ports, wrap, bench) } }) }
  }
}

/** A request that arrives during a read of the same token gets the answer of that read. */
function joiningRuns (store: TokenLookup): TokenLookup {
  const running = new Map<string, Promise<CachedRecord | null>>()
  return {
    ...store,
    lookup (digest, done) {
      const run = running.get(digest) ?? read(store, digest).finally(() => running.delete(digest))
      running.set(digest, run)
      run.then((record) => done(null, record), (error) => done(error, null))
    }
  }
}

function plainInsert (wrap: Wrap, { pool }: ProtocolBench): Ports['sessions']['login'] {
  const { insert } = wrap('sql', {
    insert: async (userId: unknown, digest: string, sessionId: string) => {
      await pool.query('insert into auth_tokens (id, digest, user_id, expires_at) values ($1, $2, $3, now() + interval \'1 minute\')',
        [sessionId, Buffer.from(digest, 'base64url'), userId])
    }
  })
  return async (userId, _verifiedHash, { digest }) => {
    const sessionId = randomUUID()
    await insert(userId, digest, sessionId)
    return { sessionId, user: { id: userId, username: '' }, createdAt: new Date(), expiresAt: new Date(), displaced: { count: 0, digests: [] } }
  }
}

function tombstoneFirst ({ cache, revocations }: Ports): Ports['revocations']['token'] {
  return async (digest, reason) => {
    await cache.tombstone([digest], CACHE_TTL_MS)
    return { ...await revocations.token(digest, reason), digests: [] }
  }
}

function tellOwnOnly ({ sessions }: Ports, wrap: Wrap, { pool }: ProtocolBench): Ports['sessions']['changePassword'] {
  const { liveDigests } = wrap('sql', {
    liveDigests: async (userId: unknown) => {
      const { rows } = await pool.query('select digest from auth_tokens where user_id = $1 and revoked_at is null', [userId])
      return rows.map(({ digest }) => digest.toString('base64url'))
    }
  })
  return async (change) => {
    const live = new Set(await liveDigests(change.userId))
    const issued = await sessions.changePassword(change)
    return issued && { ...issued, displaced: { ...issued.displaced, digests: issued.displaced.digests.filter((digest) => live.has(digest)) } }
  }
}
