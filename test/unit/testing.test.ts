import t from 'tap'
import { exploreInterleavings } from '../../lib/testing/index.js'
import type { Exploration, InterleavingReport, Sample, Wrap } from '../../lib/testing/index.js'

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

t.test('runs every order of the steps of two processes, and reports those that fail the check', async (t) => {
  const { schedules, orders, violations } = await race()
  t.equal(schedules, 6)
  t.equal(orders, 6)
  t.equal(violations.length, 4)
  t.same(violations[0], {
    schedule: ['ann: counter.read', 'bob: counter.read', 'ann: counter.write', 'bob: counter.write'],
    message: '1 of 2 are counted'
  })
})

t.test('finds the same violations with concurrent schedules, and reports its progress', async (t) => {
  const seen: number[] = []
  const report = await race({ concurrency: 4, onProgress: ({ schedules }) => seen.push(schedules) })
  t.same(report, await race())
  t.same(seen, [1, 2, 3, 4, 5, 6])
})

t.test('runs one of the schedules that differ by swaps of independent steps, and counts all orders', async (t) => {
  const independent: Exploration<Counter>['independent'] = (one, other) => one.call === 'read' && other.call === 'read'
  const { schedules, orders, violations } = await race({ independent })
  t.same({ schedules, orders, violations: violations.length }, { schedules: 4, orders: 6, violations: 2 })
})

t.test('rejects if there are too many steps to count the orders', async (t) => {
  const processes = { ann: async (counter: Counter) => { for (let i = 0; i < 31; i++) await counter.read() } }
  await t.rejects(race({ processes, check: () => {}, independent: () => true }), { message: /30 steps/ })
  t.equal((await race({ processes, check: () => {} })).orders, 1)
})

t.test('rejects if there are more schedules than maxSchedules', async (t) => {
  await t.rejects(race({ maxSchedules: 5 }), { message: 'more than 5 schedules: allow more, or use fewer steps' })
})

t.test('stops at the first violation, and repeats a given schedule', async (t) => {
  const { schedules, violations } = await race({ stopAtFirst: true })
  t.ok(schedules < 6)
  t.equal(violations.length, 1)
  const again = await race({ schedule: violations[0]!.schedule })
  t.same(again, { schedules: 1, orders: 1, violations, sample: null })
  t.equal((await race({ schedule: violations[0]!.schedule.slice(0, 2) })).schedules, 1, 'the beginning of a schedule selects one schedule that begins with it')
  const tooLong = [...violations[0]!.schedule, 'bob: counter.read #2']
  await t.rejects(race({ schedule: tooLong }), { message: 'bob: counter.read #2: cannot come now, all have ended' })
  await t.rejects(race({ schedule: ['bob: counter.write'] }), { message: 'bob: counter.write: cannot come now, only ann: counter.read, bob: counter.read' })
})

t.test('a process starts when the one it waits for has resolved, and is a violation if it cannot start', async (t) => {
  const late = { after: 'ann', run: increment }
  t.equal((await race({ processes: { ann: increment, late } })).schedules, 1)
  const { violations } = await race({ processes: { ann: async () => { throw new Error('no') }, late }, check: () => {} })
  t.same(violations, [
    { schedule: [], message: 'ann: no' },
    { schedule: [], message: 'late: has not started, since ann has not resolved' }
  ])
})

t.test('a rejection is a violation, whatever it rejects with', async (t) => {
  const reject = async (counter: Counter) => { await counter.read(); throw 'a text' } // eslint-disable-line no-throw-literal
  const { violations } = await exploreInterleavings({ setup: (wrap) => wrap('counter', new Counter()), processes: { reject } })
  t.same(violations, [{ schedule: ['reject: counter.read'], message: 'reject: a text' }])
})

t.test('a process that waits for something other than a step causes an error, not an endless test', async (t) => {
  await t.rejects(race({ processes: { ann: increment, idler: () => new Promise(() => {}) } }), { message: 'idler: waits for something that is no step' })
})

t.test('a step, setup or check that hangs causes an error that names it, and so does a schedule without a step', async (t) => {
  class Silent extends Counter { override ask (): void {} }
  const setup = (wrap: Wrap): Counter => wrap('counter', new Silent())
  const processes = { ann: (counter: Counter) => new Promise<void>((resolve) => counter.ask(() => resolve())) }
  await t.rejects(race({ setup, processes, timeoutMs: 5 }), { message: 'ann: counter.ask: has not been answered in 5 ms' })
  await t.rejects(race({ setup: () => new Promise(() => {}), timeoutMs: 5 }), { message: 'setup: has not ended in 5 ms' })
  await t.rejects(race({ check: () => new Promise(() => {}), timeoutMs: 5 }), { message: 'check: has not ended in 5 ms' })
  await t.rejects(race({ setup: () => new Counter() }), { message: 'no process has made a step: `setup` must wrap what they call' })
})

t.test('a sample runs the given number of schedules, and the same ones for the same seed', async (t) => {
  const seen = async (sample: Sample, concurrency = 1) => {
    const { violations, ...report } = await race({ sample, concurrency, check: () => { throw new Error('shown') } })
    return { report, schedules: violations.map(({ schedule }) => schedule.join()) }
  }
  const one = await seen({ schedules: 40, seed: 7 })
  t.same(one.report, { schedules: 40, orders: 40, sample: { schedules: 40, seed: 7 } })
  t.equal(new Set(one.schedules).size, 6, 'every order occurs')
  t.same(await seen({ schedules: 40, seed: 7 }, 4), one)
  t.notSame((await seen({ schedules: 40, seed: 8 })).schedules, one.schedules)
  t.equal((await seen({ schedules: 3 })).report.sample?.seed, 1)
})

t.test('a sample chooses each possible step equally often', async (t) => {
  const first = new Map<string, number>()
  const processes = { ann: increment, bob: increment, eve: increment }
  const { violations } = await race({ processes, sample: { schedules: 600 }, check: () => { throw new Error('shown') } })
  for (const { schedule } of violations) first.set(schedule[0]!, (first.get(schedule[0]!) ?? 0) + 1)
  t.equal(first.size, 3)
  for (const [label, count] of first) t.ok(count > 150 && count < 250, `${label}: ${count} of 600`)
})

t.test('a sample ignores maxSchedules and `independent`, and stops at the first violation', async (t) => {
  const independent = () => { throw new Error('it is asked') }
  t.equal((await race({ sample: { schedules: 20 }, maxSchedules: 5, independent })).schedules, 20)
  const { schedules, violations } = await race({ sample: { schedules: 1000 }, stopAtFirst: true })
  t.ok(schedules < 1000)
  t.equal(violations.length, 1)
})

t.test('numbers repeated steps, treats callback methods as steps too, and can make replies separate steps', async (t) => {
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
