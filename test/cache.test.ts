import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createMemoryCache } from '../lib/stores/memory-cache.js'
import { createRedisCache } from '../lib/stores/redis-cache.js'
import type { RedisCommands } from '../lib/stores/redis-cache.js'
import type { TokenCache } from '../lib/index.js'
import { redisUrl, uniqueNamespace } from './helpers/services.js'

const newDigest = () => randomBytes(32).toString('base64url')

function get (cache: TokenCache, digest: string): Promise<string | null> {
  return new Promise((resolve, reject) => cache.get(digest, (error, value) => error === null ? resolve(value) : reject(error)))
}

/** What every cache must do. `passTime` lets `ms` milliseconds go by for the cache. */
function contract (t: Test, cache: TokenCache, passTime: (ms: number) => void | Promise<void>): void {
  t.test('answers null for what it does not hold', async (t) => {
    t.equal(await get(cache, newDigest()), null)
  })

  t.test('gives the lease to the first reader and shows it to the second', async (t) => {
    const digest = newDigest()
    t.equal(await cache.getOrLease(digest, 'L1', 1000), 'L1')
    t.equal(await cache.getOrLease(digest, 'L2', 1000), 'L1')
    t.equal(await get(cache, digest), 'L1')
  })

  t.test('fills for the holder of the lease only', async (t) => {
    const digest = newDigest()
    await cache.fill(digest, 'L1', 'V-without-lease', 1000)
    t.equal(await get(cache, digest), null)
    await cache.getOrLease(digest, 'L1', 1000)
    await cache.fill(digest, 'L2', 'V-of-another', 1000)
    t.equal(await get(cache, digest), 'L1')
    await cache.fill(digest, 'L1', 'V1', 1000)
    t.equal(await cache.getOrLease(digest, 'L3', 1000), 'V1')
  })

  t.test('refuses a fill after a tombstone, an eviction or the end of the lease', async (t) => {
    const [revoked, evicted, slow] = [newDigest(), newDigest(), newDigest()]
    for (const digest of [revoked, evicted]) await cache.getOrLease(digest, 'L1', 1000)
    await cache.getOrLease(slow, 'L1', 20)
    await cache.tombstone([revoked], 1000)
    await cache.drop([evicted])
    await passTime(30)
    for (const digest of [revoked, evicted, slow]) await cache.fill(digest, 'L1', 'V1', 1000)
    t.equal(await get(cache, revoked), 'R')
    t.equal(await get(cache, evicted), null)
    t.equal(await get(cache, slow), null)
  })

  t.test('keeps a tombstone over a value, a lease and another tombstone', async (t) => {
    const digests = [newDigest(), newDigest(), newDigest()]
    await cache.getOrLease(digests[0]!, 'L1', 1000)
    await cache.fill(digests[0]!, 'L1', 'V1', 1000)
    await cache.getOrLease(digests[1]!, 'L1', 1000)
    await cache.tombstone(digests, 1000)
    await cache.tombstone(digests, 1000)
    for (const digest of digests) t.equal(await cache.getOrLease(digest, 'L2', 1000), 'R')
    t.equal(await cache.holdsTombstone(digests[0]!), true)
    t.equal(await cache.holdsTombstone(newDigest()), false)
  })

  t.test('forgets every entry when its time is over', async (t) => {
    const [value, tombstone] = [newDigest(), newDigest()]
    await cache.getOrLease(value, 'L1', 1000)
    await cache.fill(value, 'L1', 'V1', 20)
    await cache.tombstone([tombstone], 20)
    await passTime(30)
    t.equal(await get(cache, value), null)
    t.equal(await get(cache, tombstone), null)
  })

  t.test('writes the tombstones of a revocation of 1 200 tokens', async (t) => {
    const digests = Array.from({ length: 1200 }, newDigest)
    await cache.tombstone(digests, 5000)
    t.equal(await get(cache, digests[1199]!), 'R')
    await cache.drop(digests)
    t.equal(await get(cache, digests[1199]!), null)
  })
}

t.test('the in-process cache', (t) => {
  let at = 1000
  const cache = createMemoryCache({ max: 10_000, now: () => at })
  contract(t, cache, (ms) => { at += ms })

  t.test('is connected from the start', async (t) => {
    cache.onConnection((connected) => t.equal(connected, true))
  })

  t.test('holds no more than it may', async (t) => {
    const small = createMemoryCache({ max: 2, now: () => at })
    const digests = [newDigest(), newDigest(), newDigest()]
    await small.tombstone(digests, 1000)
    t.equal(await get(small, digests[0]!), null)
    await small.close()
    t.equal(await get(small, digests[2]!), null)
  })
  t.end()
})

t.test('the Redis cache', (t) => {
  const client = new Redis(redisUrl())
  const namespace = uniqueNamespace()
  const cache = createRedisCache({ client: client as unknown as RedisCommands, namespace, readTimeoutMs: 5000, close: async () => client.disconnect() })
  t.teardown(cache.close)
  contract(t, cache, (ms) => new Promise((resolve) => setTimeout(resolve, ms + 20)))

  t.test('leaves no key without an end', async (t) => {
    for (const key of await client.keys(`${namespace}*`)) t.ok(await client.pttl(key) !== -1, key)
  })

  t.test('tells of the connection, at once when it stands, and of its loss', async (t) => {
    const seen: boolean[] = []
    const lost = new Promise<void>((resolve) => cache.onConnection((connected) => { seen.push(connected); if (!connected) resolve() }))
    client.disconnect()
    await lost
    t.same(seen, [true, false])
    await t.rejects(new Promise((resolve, reject) => cache.get(newDigest(), (error, value) => error === null ? resolve(value) : reject(error))))
  })
  t.end()
})
