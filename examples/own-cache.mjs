// Tests whether a token cache of your own keeps revoked tokens revoked: node examples/own-cache.mjs
// The plugin has no option for a cache: this is for a fork, or a proposal.
import { exploreTokenCache, tokenCacheContract } from 'fastify-token-auth/testing'

/** The complete cache: a Map with expiry times. */
function createMapCache () {
  const entries = new Map()

  function read (digest) {
    const entry = entries.get(digest)
    if (entry === undefined || entry.until <= Date.now()) return null
    return entry.value
  }

  const write = (digest, value, ttlMs) => entries.set(digest, { value, until: Date.now() + ttlMs })

  return {
    get: (digest, done) => done(null, read(digest)),
    async getOrLease (digest, lease, leaseMs) {
      const value = read(digest)
      if (value !== null) return value
      write(digest, lease, leaseMs)
      return lease
    },
    // The life counts from the lease, however late the fill arrives.
    async fill (digest, lease, value, ttlMs, leaseMs) {
      if (read(digest) === lease) entries.set(digest, { value, until: entries.get(digest).until - leaseMs + ttlMs })
    },
    async tombstone (digests, ttlMs) {
      for (const digest of digests) write(digest, 'R', ttlMs)
    },
    async drop (digests) {
      for (const digest of digests) entries.delete(digest)
    },
    holdsTombstone: async (digest) => read(digest) === 'R',
    onConnection: (listener) => listener(true),
    close: async () => entries.clear()
  }
}

for (const { run } of tokenCacheContract) await run({ createCache: createMapCache })
console.log(`${tokenCacheContract.length} checks of the contract hold`)

const { schedules, orders, violations } = await exploreTokenCache({ createCache: createMapCache })
console.log(`${schedules} schedules, for ${orders} orders of their steps: ${violations.length} violations`)

// A mistake that no ordinary test shows: the fill does not check whether its lease is still there.
function createCarelessCache () {
  const cache = createMapCache()
  return {
    ...cache,
    async fill (digest, _lease, value, ttlMs) {
      await cache.drop([digest])
      await cache.getOrLease(digest, value, ttlMs)
    }
  }
}

const careless = await exploreTokenCache({ createCache: createCarelessCache, stopAtFirst: true })
console.log(`without comparing the lease, after ${careless.schedules} schedules:`)
for (const { schedule, message } of careless.violations) console.log([...schedule, message].join('\n'))
if (violations.length > 0 || careless.violations.length === 0) process.exitCode = 1
