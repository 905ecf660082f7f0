import type { FoundToken } from '../ports.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import { createCacheAvailability } from '../cache/availability.js'
import { createReadThrough } from '../cache/read-through.js'
import type { TokenLookup } from '../cache/lookup.js'
import { createDatabaseClock } from '../tools/database-clock.js'
import { createDoubts } from '../cache/doubts.js'
import { UNSEALED } from '../crypto/seal.js'
import { boolean, callable, entry, readTable } from '../options/rules.js'
import { checkedCache, get } from './checked-cache.js'
import type { InterleavingReport } from './exploration.js'
import { exploreInterleavings } from './explore.js'
import type { Process } from './processes.js'
import { timeout, within } from './time-limit.js'
import type { Wrap } from './wrap.js'
import { monotonicNow } from '../tools/monotonic.js'

interface World {
  digest: Digest
  cache: TokenCache
  revoke: (digest: Digest) => Promise<void>
  servers: { a: TokenLookup, b: TokenLookup }
  failures: Error[]
}

export interface CacheExploration {
  /** Called once at first, and once for each schedule. It may return the same cache again. */
  createCache: () => TokenCache | Promise<TokenCache>
  /** Stops at the first violation. */
  stopAtFirst?: boolean
  /** Time limit for one call of the cache. Exceeding it is an error. Default: 10 000. */
  timeoutMs?: number
}

const TTL_MS = 60_000

/**
 * Runs the plugin's own lookups on two servers against a logout and an eviction, in every order, with your cache and with a set in
 * memory as the database. It is a violation if a lookup that began after the logout had returned is accepted, or if the cache throws,
 * rejects, or answers in a way that the port does not allow.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, a `TypeError`, if an option is wrong or the cache lacks a method; an `Error`
 * if a call does not complete; the error of the first `get`, which is a `TypeError` if it returns a promise
 */
export async function exploreTokenCache (exploration: CacheExploration): Promise<InterleavingReport> {
  const { createCache, stopAtFirst, timeoutMs } = readTable<Required<CacheExploration>>({
    createCache: entry(undefined, callable()),
    stopAtFirst: entry(false, boolean()),
    timeoutMs: timeout
  }, exploration, { prefix: '' })
  const nextCache = async () => checkedCache(await createCache())
  let tokens = 0
  const nextToken = () => `token-${tokens++}`.padEnd(43, '-')

  // A cache whose `get` does not work at all would fail every schedule and show nothing else.
  const first = nextCache().then((cache) => get(cache, nextToken()))
  await within(timeoutMs, 'the cache\'s get: has not called back', first)
  return await exploreInterleavings<World>({
    setup: async (wrap) => createWorld(wrap, await nextCache(), nextToken()),
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
    timeoutMs,
    // Requests on one server share a lookup, so their steps are dependent. A reader's name ends with its server.
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
  const availability = createCacheAvailability({ monotonicNow: Date.now, onError: (_operation, error) => failures.push(error) })
  availability.trust()
  const clock = createDatabaseClock({ now: Date.now, monotonicNow })
  const server = (leaseOwner: string) =>
    createReadThrough({ cache, availability, doubts: createDoubts(), seal: UNSEALED, find: rows.find, ttlMs: TTL_MS, clock, leaseOwner, jitter: () => 0 })
  return { digest, cache, failures, revoke: rows.revoke, servers: { a: server('a'), b: server('b') } }
}

const refuse: Process<World> = async ({ servers, digest }) => {
  if (await resolve(servers.a, digest) !== null) throw new Error('accepted after the logout had returned')
}

// A failure of the cache is recorded, and the set in memory, which never fails, is read instead. So an error here is a violation.
function resolve (server: TokenLookup, digest: Digest): Promise<unknown> {
  return new Promise((resolve, reject) => server.lookup(digest, (error, record) => error === null ? resolve(record) : reject(error)))
}

function found (sessionId: string): FoundToken {
  const issuedAtMs = Date.now()
  const user = { id: 'user', username: 'user' }
  const record = { sessionId, user, issuedAtMs, expiresAtMs: issuedAtMs + TTL_MS, idleAtMs: null, scopes: null }
  return { record, asOfMs: issuedAtMs }
}
