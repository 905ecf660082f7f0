import type { Digest, FoundToken, TokenCache } from '../../types/ports.js'
import { createCacheGate } from '../stores/cache-gate.js'
import { createCachedTokenStore } from '../stores/cached-token-store.js'
import type { CachedTokenStore } from '../stores/cached-token-store.js'
import { UNSEALED } from '../stores/seal.js'
import { exploreInterleavings } from './explore.js'
import type { InterleavingReport } from './explore.js'
import type { Process, Wrap } from './scheduler.js'

interface World {
  digest: Digest
  cache: TokenCache
  revoke: (digest: Digest) => Promise<void>
  servers: { a: CachedTokenStore, b: CachedTokenStore }
  failures: Error[]
}

export interface CacheExploration {
  /** Called for each schedule; may give the same cache again. */
  createCache: () => TokenCache | Promise<TokenCache>
  stopAtFirst?: boolean
}

const TTL_MS = 60_000

/**
 * Runs the plugin's own reading, on two servers, against a logout and an eviction on your cache, in every order, with
 * the rows of a database that is a set in memory. A violation: a read that began after the logout had returned is accepted, or
 * the cache has failed.
 */
export async function exploreTokenCache ({ createCache, stopAtFirst = false }: CacheExploration): Promise<InterleavingReport> {
  let tokens = 0
  return await exploreInterleavings<World>({
    setup: async (wrap) => createWorld(wrap, await createCache(), `token-${tokens++}`.padEnd(43, '-')),
    processes: {
      'reader A': async ({ servers, digest }) => { await resolve(servers.a, digest) },
      'reader B': async ({ servers, digest }) => { await resolve(servers.b, digest) },
      logout: async ({ cache, digest, revoke }) => {
        await revoke(digest)
        await cache.tombstone([digest], TTL_MS)
      },
      eviction: async ({ cache, digest }) => await cache.drop([digest]),
      'late reader A': { after: 'logout', run: refuse }
    },
    check: async (world) => {
      await refuse(world)
      if (world.failures[0] !== undefined) throw world.failures[0]
    },
    stopAtFirst,
    // Requests of one server share a look-up, so that their steps are not independent. A reader's name ends with its server.
    independent: (one, other) => one.port !== other.port && one.process.at(-1) !== other.process.at(-1)
  })
}

function createWorld (wrap: Wrap, plain: TokenCache, digest: Digest): World {
  const live = new Set([digest])
  const cache = wrap('cache', plain)
  const rows = wrap('sql', {
    find: async (digest: Digest) => live.has(digest) ? found(digest) : null,
    revoke: async (digest: Digest) => { live.delete(digest) }
  })
  const failures: Error[] = []
  const gate = createCacheGate({ monotonicNow: Date.now, onError: (_operation, error) => failures.push(error) })
  gate.trust()
  const server = (leaseOwner: string) =>
    createCachedTokenStore({ cache, gate, seal: UNSEALED, find: rows.find, ttlMs: TTL_MS, now: Date.now, leaseOwner, jitter: () => 0 })
  return { digest, cache, failures, revoke: rows.revoke, servers: { a: server('a'), b: server('b') } }
}

const refuse: Process<World> = async ({ servers, digest }) => {
  if (await resolve(servers.a, digest) !== null) throw new Error('accepted after the logout had returned')
}

// The set in memory never fails, and a failure of the cache is no error here: it is noted, and the set is asked.
function resolve (server: CachedTokenStore, digest: Digest): Promise<unknown> {
  return new Promise((resolve) => server.resolve(digest, (_error, record) => resolve(record)))
}

function found (sessionId: string): FoundToken {
  const issuedAtMs = Date.now()
  const user = { id: 'user', username: 'user' }
  const record = { sessionId, user, issuedAtMs, expiresAtMs: issuedAtMs + TTL_MS, idleAtMs: null, scopes: null }
  return { record, remainingMs: TTL_MS }
}
