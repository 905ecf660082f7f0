import t from 'tap'
import { createMemoryCache } from '../lib/stores/memory-cache.js'
import { exploreInterleavings, exploreTokenCache, tokenCacheContract } from '../lib/testing/index.js'
import type { Exploration, InterleavingReport, Wrap } from '../lib/testing/index.js'
import type { TokenCache } from '../lib/index.js'

/** A counter that is read and written in two steps, as an instance of a class. */
class Counter {
  readonly unit = 'pieces'
  #value = 0
  async read (): Promise<number> { return this.#value }
  async write (value: number): Promise<void> { this.#value = value }
  ask (done: (value: number) => void): void { done(this.#value) }
  fail (_done: (error: Error) => void): void { throw new Error('it fails') }
}

const increment = async (counter: Counter) => await counter.write(await counter.read() + 1)
const twoMustBeCounted = async (counter: Counter) => {
  const value = await counter.read()
  if (value !== 2) throw new Error(`${value} of 2 are counted`)
}

async function race (more: Partial<Exploration<Counter>> = {}): Promise<InterleavingReport> {
  return await exploreInterleavings<Counter>({
    setup: (wrap) => wrap('counter', new Counter()),
    processes: { ann: increment, bob: increment },
    check: twoMustBeCounted,
    ...more
  })
}

t.test('runs every order of the steps of two processes, and shows those that break a promise', async (t) => {
  const { schedules, orders, violations } = await race()
  t.equal(schedules, 6)
  t.equal(orders, 6)
  t.equal(violations.length, 4)
  t.same(violations[0], {
    schedule: ['ann: counter.read', 'bob: counter.read', 'ann: counter.write', 'bob: counter.write'],
    message: '1 of 2 are counted'
  })
})

t.test('finds the same when several schedules run at once, and tells of its progress', async (t) => {
  const seen: number[] = []
  const report = await race({ concurrency: 4, onProgress: ({ schedules }) => seen.push(schedules) })
  t.same(report, await race())
  t.same(seen, [1, 2, 3, 4, 5, 6])
})

t.test('runs one of the schedules that differ by swaps of independent steps, and counts all', async (t) => {
  const independent: Exploration<Counter>['independent'] = (one, other) => one.call === 'read' && other.call === 'read'
  const { schedules, orders, violations } = await race({ independent })
  t.same({ schedules, orders, violations: violations.length }, { schedules: 4, orders: 6, violations: 2 })
})

t.test('refuses to count orders of more steps than it can', async (t) => {
  const processes = { ann: async (counter: Counter) => { for (let i = 0; i < 31; i++) await counter.read() } }
  await t.rejects(race({ processes, check: () => {}, independent: () => true }), { message: /30 steps/ })
  t.equal((await race({ processes, check: () => {} })).orders, 1)
})

t.test('leaves nothing out silently', async (t) => {
  await t.rejects(race({ maxSchedules: 5 }), { message: 'more than 5 schedules: allow more, or use fewer steps' })
})

t.test('stops at the first violation, and runs one schedule again', async (t) => {
  const { schedules, violations } = await race({ stopAtFirst: true })
  t.ok(schedules < 6)
  t.equal(violations.length, 1)
  const again = await race({ schedule: violations[0]!.schedule })
  t.same(again, { schedules: 1, orders: 1, violations })
  await t.rejects(race({ schedule: ['bob: counter.write'] }), { message: 'bob: counter.write: cannot come now, only ann: counter.read, bob: counter.read' })
})

t.test('a process starts when the one it waits for has resolved, and not when that fails', async (t) => {
  const late = { after: 'ann', run: increment }
  t.equal((await race({ processes: { ann: increment, late } })).schedules, 1)
  const { violations } = await race({ processes: { ann: async () => { throw new Error('no') }, late }, check: () => {} })
  t.same(violations, [{ schedule: [], message: 'ann: no' }])
})

t.test('a rejection is a violation, whatever it rejects with', async (t) => {
  const reject = async (counter: Counter) => { await counter.read(); throw 'a text' } // eslint-disable-line no-throw-literal
  const { violations } = await exploreInterleavings({ setup: (wrap) => wrap('counter', new Counter()), processes: { reject } })
  t.same(violations, [{ schedule: ['reject: counter.read'], message: 'reject: a text' }])
})

t.test('a process that waits for something else is an error, not an endless test', async (t) => {
  await t.rejects(race({ processes: { ann: increment, idler: () => new Promise(() => {}) } }), { message: 'idler: waits for something that is no step' })
})

t.test('numbers repeated steps, takes callbacks for steps too, and lets replies be steps of their own', async (t) => {
  const processes = {
    ann: async (counter: Counter) => {
      await counter.write(7)
      t.equal(await new Promise((resolve) => counter.ask(resolve)), 7)
      t.match(await new Promise((resolve) => counter.fail(resolve)), { message: 'it fails' })
      await counter.write(8)
      t.equal(counter.unit, 'pieces')
    }
  }
  const seen: string[][] = []
  const setup = (wrap: Wrap) => wrap('counter', new Counter(), { replies: ['ask'] })
  await race({ setup, processes, check: () => { throw new Error('shown') } }).then(({ violations }) => seen.push(violations[0]!.schedule))
  t.same(seen, [['ann: counter.write', 'ann: counter.ask', 'ann: counter.ask reply', 'ann: counter.fail', 'ann: counter.write #2']])
})

t.test('a cache that keeps the contract lets nothing in', async (t) => {
  const { schedules, violations } = await exploreTokenCache({ createCache: () => createMemoryCache({ max: 1000, now: Date.now }) })
  t.ok(schedules > 1000, `${schedules} schedules`)
  t.same(violations, [])
})

t.test('a cache that does not is shown by the contract and by the schedules', async (t) => {
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
    'forgets every entry when its time is over'
  ])
  const { violations } = await exploreTokenCache({ createCache, stopAtFirst: true })
  t.ok(violations[0]!.schedule.includes('late reader A: cache.get'))
  t.match(violations[0]!.message, 'accepted after the logout had returned')
})

t.test('a cache that fails is shown as such', async (t) => {
  const cache = createMemoryCache({ max: 10, now: Date.now })
  const createCache = (): TokenCache => ({ ...cache, getOrLease: async () => { throw new Error('it is broken') } })
  const { violations } = await exploreTokenCache({ createCache, stopAtFirst: true })
  t.match(violations[0]!.message, 'it is broken')
  const silent = (): TokenCache => ({ ...cache, get: (_digest, done) => done(new Error('it does not answer'), null) })
  await t.rejects(tokenCacheContract[0]!.run({ createCache: silent }), { message: 'it does not answer' })
})
