import type { FoundToken } from '../ports.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import { createCacheAvailability } from '../cache/availability.js'
import { createReadThrough } from '../cache/read-through.js'
import type { TokenLookup } from '../cache/read-through.js'
import { createDatabaseClock } from '../tools/database-clock.js'
import { createDoubts } from '../cache/doubts.js'
import { UNSEALED } from '../crypto/seal.js'
import { boolean, callable } from '../options/rules.js'
import { ask, checkedCache } from './checked-cache.js'
import { exploreInterleavings } from './explore.js'
import type { InterleavingReport } from './explore.js'
import { optional, readOptions } from './options.js'
import type { Process } from './processes.js'
import type { Wrap } from './scheduler.js'
import { timeout, within } from './within.js'

interface World {
  digest: Digest
  cache: TokenCache
  revoke: (digest: Digest) => Promise<void>
  servers: { a: TokenLookup, b: TokenLookup }
  failures: Error[]
}

export interface CacheExploration {
  /** Called once before all, and for each schedule; may give the same cache again. */
  createCache: () => TokenCache | Promise<TokenCache>
  /** Stops at the first violation. */
  stopAtFirst?: boolean
  /** How long one call of the cache may take: longer is an error, and no endless test. 10 000 by default. */
  timeoutMs?: number
}

const TTL_MS = 60_000

/**
 * Runs the plugin's own reading, on two servers, against a logout and an eviction on your cache, in every order, with
 * the rows of a database that is a set in memory. A violation: a read that began after the logout had returned is accepted, or
 * the cache has thrown, rejected or answered as the port does not allow.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, a `TypeError`, where an option is wrong or the cache lacks a method; an `Error`
 * where a call is not answered; what the first `get` fails with, which is a `TypeError` where it returns a promise
 */
export async function exploreTokenCache (exploration: CacheExploration): Promise<InterleavingReport> {
  const { createCache, stopAtFirst, timeoutMs } = readOptions<Required<CacheExploration>>(exploration, {
    createCache: callable(),
    stopAtFirst: optional(false, boolean()),
    timeoutMs: timeout
  })
  const nextCache = async () => checkedCache(await createCache())
  let tokens = 0
  const nextToken = () => `token-${tokens++}`.padEnd(43, '-')

  // A cache that cannot be asked at all would break every schedule, and show nothing else.
  const asked = nextCache().then((cache) => ask(cache, nextToken()))
  await within(timeoutMs, 'the cache\'s get: has not called back', asked)
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
  const availability = createCacheAvailability({ monotonicNow: Date.now, onError: (_operation, error) => failures.push(error) })
  availability.trust()
  const clock = createDatabaseClock({ now: Date.now, monotonicNow: () => performance.now() })
  const server = (leaseOwner: string) =>
    createReadThrough({ cache, availability, doubts: createDoubts(), seal: UNSEALED, find: rows.find, ttlMs: TTL_MS, clock, leaseOwner, jitter: () => 0 })
  return { digest, cache, failures, revoke: rows.revoke, servers: { a: server('a'), b: server('b') } }
}

const refuse: Process<World> = async ({ servers, digest }) => {
  if (await resolve(servers.a, digest) !== null) throw new Error('accepted after the logout had returned')
}

// A failure of the cache is noted by the availability, and the set is asked, which never fails: what comes here is no such thing, and a violation.
function resolve (server: TokenLookup, digest: Digest): Promise<unknown> {
  return new Promise((resolve, reject) => server.lookup(digest, (error, record) => error === null ? resolve(record) : reject(error)))
}

function found (sessionId: string): FoundToken {
  const issuedAtMs = Date.now()
  const user = { id: 'user', username: 'user' }
  const record = { sessionId, user, issuedAtMs, expiresAtMs: issuedAtMs + TTL_MS, idleAtMs: null, scopes: null }
  return { record, asOfMs: issuedAtMs }
}
