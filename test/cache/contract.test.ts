import { Redis } from 'ioredis'
import t from 'tap'
import { createMemoryCache } from '../helpers/memory-cache.js'
import { createRedisCache } from '../../lib/cache/redis-cache.js'
import type { RedisCommands } from '../../lib/cache/redis-cache.js'
import { contract, get, newDigest } from '../helpers/cache-contract.js'
import { redisUrl, uniqueNamespace } from '../helpers/services.js'

t.test('the in-process cache', (t) => {
  let at = 1000
  const cache = createMemoryCache({ max: 10_000, now: () => at })
  contract(t, cache, (ms) => { at += ms })

  t.test('is connected from the start', async (t) => {
    cache.onConnection((connected) => t.equal(connected, true))
  })

  t.test('holds at most max entries', async (t) => {
    const small = createMemoryCache({ max: 2, now: () => at })
    const digests = [newDigest(), newDigest(), newDigest()]
    await small.tombstone(digests, 1000)
    t.equal(await get(small, digests[0]!), null)
    await small.close()
    t.equal(await get(small, digests[2]!), null)
  })
  t.end()
})

t.test('the Redis cache', async (t) => {
  const client = new Redis(redisUrl())
  await client.ping()
  const namespace = uniqueNamespace()
  const cache = createRedisCache({ client: client as unknown as RedisCommands, namespace, readTimeoutMs: 5000, close: async () => client.disconnect() })
  t.teardown(cache.close)
  contract(t, cache)

  t.test('counts a tombstone as written only if Redis answers OK', async (t) => {
    // Simulates a server that is not a working Redis: it does not answer a SET with OK.
    for (const answer of [null, 'QUEUED', 0]) {
      const standIn = new Proxy(client, { get: (target, name) => name === 'set' ? async () => answer : Reflect.get(target, name) })
      const careless = createRedisCache({ client: standIn as unknown as RedisCommands, namespace, readTimeoutMs: 5000, close: async () => {} })
      await t.rejects(careless.tombstone([newDigest()], 1000), { message: 'Redis did not acknowledge a tombstone' }, String(answer))
    }
  })

  t.test('leaves no key without an expiry', async (t) => {
    for (const key of await client.keys(`${namespace}*`)) t.ok(await client.pttl(key) !== -1, key)
  })

  t.test('reports an existing connection at once, and its loss later', async (t) => {
    const seen: boolean[] = []
    const lost = new Promise<void>((resolve) => cache.onConnection((connected) => { seen.push(connected); if (!connected) resolve() }))
    client.disconnect()
    await lost
    t.same(seen, [true, false])
    await t.rejects(new Promise((resolve, reject) => cache.get(newDigest(), (error, value) => error === null ? resolve(value) : reject(error))))
  })
})
