import t from 'tap'
import { createMemoryCache } from '../helpers/memory-cache.js'
import { exploreTokenCache, tokenCacheContract } from '../../lib/testing/index.js'
import type { CacheExploration } from '../../lib/testing/index.js'
import type { TokenCache } from '../../lib/index.js'

t.test('a cache that fulfills the contract has no violations', async (t) => {
  const { schedules, violations } = await exploreTokenCache({ createCache: () => createMemoryCache({ max: 1000, now: Date.now }) })
  t.ok(schedules > 1000, `${schedules} schedules`)
  t.same(violations, [])
})

t.test('a cache that breaks the contract fails the contract and the schedules', async (t) => {
  const createCache = (): TokenCache => {
    const entries = new Map<string, string>()
    const cache = createMemoryCache({ max: 10_000, now: Date.now })
    return {
      ...cache,
      get: (digest, done) => done(null, entries.get(digest) ?? null),
      getOrLease: async (digest, lease) => entries.get(digest) ?? lease,
      fill: async (digest, _lease, value) => { entries.set(digest, value) },
      tombstone: async (digests) => { for (const digest of digests) entries.set(digest, 'R') },
      drop: async (digests) => { for (const digest of digests) entries.delete(digest) }
    }
  }
  const failed: string[] = []
  for (const { name, run } of tokenCacheContract) await run({ createCache }).catch(() => failed.push(name))
  t.same(failed, [
    'gives the lease to the first reader and shows it to the second',
    'gives the lease to one of many readers at once',
    'fills for the holder of the lease only',
    'refuses a fill after a tombstone, an eviction or the end of the lease',
    'keeps a tombstone over a value, a lease and another tombstone',
    'forgets every entry when its time is over',
    'counts the life of an entry from its lease, however late it is filled'
  ])
  const { violations } = await exploreTokenCache({ createCache, stopAtFirst: true })
  t.ok(violations[0]!.schedule.includes('late reader A: cache.get'))
  t.match(violations[0]!.message, 'accepted after the logout had returned')
})

t.test('a cache that fails is reported with its error', async (t) => {
  const cache = createMemoryCache({ max: 10, now: Date.now })
  const createCache = (): TokenCache => ({ ...cache, getOrLease: async () => { throw new Error('it is broken') } })
  const { violations } = await exploreTokenCache({ createCache, stopAtFirst: true })
  t.match(violations[0]!.message, 'it is broken')
  const silent = (): TokenCache => ({ ...cache, get: (_digest, done) => done(new Error('it does not answer'), null) })
  await t.rejects(tokenCacheContract[0]!.run({ createCache: silent }), { message: 'it does not answer' })
})

/** The in-process cache with some methods replaced. */
function cacheWith (parts: object): () => TokenCache {
  return () => ({ ...createMemoryCache({ max: 10_000, now: Date.now }), ...parts })
}

/** The errors of the contract's first check and of the exploration for a cache. */
async function complaints (createCache: () => TokenCache, timeoutMs = 20): Promise<string[]> {
  const said = (work: Promise<unknown>) => work.then(() => 'nothing', (error: Error) => error.message)
  return [await said(tokenCacheContract[0]!.run({ createCache, timeoutMs })), await said(exploreTokenCache({ createCache, timeoutMs }))]
}

t.test('a cache that lacks a method is rejected, and the error names the method', async (t) => {
  for (const name of Object.keys(cacheWith({})())) {
    const message = `the cache's ${name} must be a method, got undefined`
    t.same(await complaints(cacheWith({ [name]: undefined })), [message, message])
  }
  const message = 'what createCache gives must be a TokenCache, got undefined'
  t.same(await complaints((() => {}) as unknown as () => TokenCache), [message, message])
})

t.test('a cache whose methods never answer causes an error with a reason, not an endless test', async (t) => {
  const message = 'get must call back, returned a promise'
  t.same(await complaints(cacheWith({ get: async () => null })), [message, message])
  t.same(await complaints(cacheWith({ get: async () => { throw new Error('unheard') } })), [message, message])
  t.same(await complaints(cacheWith({ get: () => {} })), [
    'the cache has not answered (get must call back, all else resolve) in 20 ms',
    'the cache\'s get: has not called back in 20 ms'
  ])
  t.match(await complaints(cacheWith({ getOrLease: () => new Promise(() => {}) })), ['nothing', /^reader \w: cache.getOrLease: has not been answered in 20 ms$/])
})

t.test('a cache whose answers violate the port is reported', async (t) => {
  const found = (...answer: unknown[]) => cacheWith({ get: (_digest: string, done: (...values: unknown[]) => void) => done(...answer) })
  const noText = 'get must find a string or null, found undefined'
  const noError = 'get must call back with null or an Error, called back with undefined'
  t.same(await complaints(found(null, undefined)), [noText, noText])
  t.same(await complaints(found(undefined, null)), [noError, noError])
  const { violations } = await exploreTokenCache({ createCache: cacheWith({ fill: () => {} }), stopAtFirst: true })
  t.equal(violations[0]!.message, 'fill must return a promise, returned undefined')
})

t.test('an error inside a lookup is a violation', async (t) => {
  const { violations } = await exploreTokenCache({ createCache: cacheWith({ getOrLease: async () => undefined }), stopAtFirst: true })
  t.match(violations[0]!.message, /^reader \w: Cannot read properties of undefined/)
})

t.test('the options of exploreTokenCache and tokenCacheContract are checked', async (t) => {
  const createCache = cacheWith({})
  const of = (options: object) => options as CacheExploration
  await t.rejects(exploreTokenCache(undefined as unknown as CacheExploration), { message: 'options must be an object, got undefined' })
  await t.rejects(exploreTokenCache(of({})), { message: 'createCache must be a function, got undefined' })
  await t.rejects(exploreTokenCache(of({ createCache, stopAtFirst: 1 })), { message: 'stopAtFirst must be true or false, got 1' })
  await t.rejects(exploreTokenCache(of({ createCache, timeoutMs: 0 })), { message: /^timeoutMs must be an integer from 1 / })
  await t.rejects(tokenCacheContract[0]!.run(of({ createCache, timeout: 5 })), { message: 'Unknown option "timeout"; known options: createCache, passTime, timeoutMs' })
  await t.rejects(tokenCacheContract[0]!.run({ createCache, passTime: 'long' as unknown as () => void }), { message: 'passTime must be a function, got "long"' })
})
