import { deepEqual, equal } from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import type { Digest, TokenCache } from '../../types/cache.js'
import { callable, entry, readTable } from '../options/rules.js'
import { checkedCache, get } from './checked-cache.js'
import { timeout, within } from './time-limit.js'

export interface CacheUnderTest {
  /** Called once for each check. It may return the same cache again. The cache is not closed. */
  createCache (): TokenCache | Promise<TokenCache>
  /** Lets `ms` milliseconds pass for the cache. Default: waits that long, and 20 ms more. */
  passTime? (ms: number): void | Promise<void>
  /** Time limit of one check, including `createCache` and `passTime`. A check that exceeds it rejects. Default: 10 000. */
  timeoutMs?: number
}

/** One requirement for every cache. */
export interface CacheCheck {
  name: string
  /**
   * Rejects with an `AssertionError` if the cache does not fulfil it, with a `TypeError` if the cache lacks a method of the port or answers
   * in another way, and with errors of the cache itself.
   */
  run (subject: CacheUnderTest): Promise<void>
}

type Check = (cache: TokenCache, passTime: (ms: number) => void | Promise<void>) => Promise<void>

const TOMBSTONE = 'R'
/** For entries that must not expire during a check, however slow the machine is. */
const LASTING_MS = 60_000
let digests = 0

/** A text of a digest's length that is also new to a cache with entries of earlier runs. */
const newDigest = (): Digest => `${Date.now()}-${Math.random()}-${digests++}`.padEnd(43, '-').slice(-43)

const wait = (ms: number) => pause(ms + 20)

async function filled (cache: TokenCache, digest: Digest, ttlMs: number): Promise<void> {
  await cache.getOrLease(digest, 'L1', LASTING_MS)
  await cache.fill(digest, 'L1', 'V1', ttlMs, LASTING_MS)
}

const CHECKS: Record<string, Check> = {
  'answers null for what it does not hold': async (cache) => {
    equal(await get(cache, newDigest()), null)
  },
  'gives the lease to the first reader and shows it to the second': async (cache) => {
    const digest = newDigest()
    equal(await cache.getOrLease(digest, 'L1', LASTING_MS), 'L1')
    equal(await cache.getOrLease(digest, 'L2', LASTING_MS), 'L1')
    equal(await get(cache, digest), 'L1')
  },
  'gives the lease to one of many readers at once': async (cache) => {
    const digest = newDigest()
    const leases = Array.from({ length: 20 }, (_, index) => `L${index}`)
    const shown = await Promise.all(leases.map((lease) => cache.getOrLease(digest, lease, LASTING_MS)))
    deepEqual([...new Set(shown)], [await get(cache, digest)])
  },
  'fills for the holder of the lease only': async (cache) => {
    const digest = newDigest()
    await cache.fill(digest, 'L1', 'V-without-lease', LASTING_MS, LASTING_MS)
    equal(await get(cache, digest), null)
    await cache.getOrLease(digest, 'L1', LASTING_MS)
    await cache.fill(digest, 'L2', 'V-of-another', LASTING_MS, LASTING_MS)
    equal(await get(cache, digest), 'L1')
    await cache.fill(digest, 'L1', 'V1', LASTING_MS, LASTING_MS)
    equal(await cache.getOrLease(digest, 'L3', LASTING_MS), 'V1')
  },
  'refuses a fill after a tombstone, an eviction or the end of the lease': async (cache, passTime) => {
    const [revoked, evicted, slow] = [newDigest(), newDigest(), newDigest()]
    for (const digest of [revoked, evicted]) await cache.getOrLease(digest, 'L1', LASTING_MS)
    await cache.getOrLease(slow, 'L1', 20)
    await cache.tombstone([revoked], LASTING_MS)
    await cache.drop([evicted])
    await passTime(30)
    for (const digest of [revoked, evicted, slow]) await cache.fill(digest, 'L1', 'V1', LASTING_MS, LASTING_MS)
    equal(await get(cache, revoked), TOMBSTONE)
    equal(await get(cache, evicted), null)
    equal(await get(cache, slow), null)
  },
  'keeps a tombstone over a value, a lease and another tombstone': async (cache) => {
    const digests = [newDigest(), newDigest(), newDigest()] as const
    await filled(cache, digests[0], LASTING_MS)
    await cache.getOrLease(digests[1], 'L1', LASTING_MS)
    await cache.tombstone(digests, LASTING_MS)
    await cache.tombstone(digests, LASTING_MS)
    for (const digest of digests) equal(await cache.getOrLease(digest, 'L2', LASTING_MS), TOMBSTONE)
    equal(await cache.holdsTombstone(digests[0]), true)
    equal(await cache.holdsTombstone(newDigest()), false)
  },
  'forgets every entry when its time is over': async (cache, passTime) => {
    const [value, tombstone] = [newDigest(), newDigest()]
    await filled(cache, value, 20)
    await cache.tombstone([tombstone], 20)
    await passTime(30)
    equal(await get(cache, value), null)
    equal(await get(cache, tombstone), null)
  },
  'counts the life of an entry from its lease, however late it is filled': async (cache, passTime) => {
    const digest = newDigest()
    await cache.getOrLease(digest, 'L1', LASTING_MS)
    await passTime(30)
    await cache.fill(digest, 'L1', 'V1', 30, LASTING_MS)
    equal(await get(cache, digest), null)
  },
  'writes the tombstones of a revocation of 1 200 tokens': async (cache) => {
    const digests = Array.from({ length: 1200 }, newDigest)
    await cache.tombstone(digests, LASTING_MS)
    equal(await get(cache, digests[1199] as Digest), TOMBSTONE)
    await cache.drop(digests)
    equal(await get(cache, digests[1199] as Digest), null)
  }
}

async function run (check: Check, subject: CacheUnderTest): Promise<void> {
  const { createCache, passTime, timeoutMs } = readTable<Required<CacheUnderTest>>({
    createCache: entry(undefined, callable()),
    passTime: entry(wait, callable()),
    timeoutMs: timeout
  }, subject, { prefix: '' })
  const checked = (async () => await check(checkedCache(await createCache()), passTime))()
  await within(timeoutMs, 'the cache has not answered (get must call back, all else resolve)', checked)
}

/** The requirements for every `TokenCache`, to loop over in any test runner. The cache must have room for 1 200 entries. */
export const tokenCacheContract: readonly CacheCheck[] = Object.entries(CHECKS).map(([name, check]) => ({
  name,
  run: async (subject) => await run(check, subject)
}))
