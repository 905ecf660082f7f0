import t from 'tap'
import type { Test } from 'tap'
import { say } from '../../helpers/say.js'
import { uniqueNamespace } from '../../helpers/services.js'
import { CONCURRENCY, openProtocolBench } from './bench.js'
import { LISTED_FIRST, NEAR_CONTROLS } from './near-mistakes.js'
import { CONTROL_SCHEDULES, COUNTED, exploreNear, hasAllOrders, LARGE_SAMPLE, REAL_SAMPLE, SMALL_SAMPLE } from './near-races.js'
import type { NearRace } from './near-races.js'
import { LARGE, SMALL } from './near-scenarios.js'
import type { RaceName } from './near-scenarios.js'
import { createRealStores, nextMemoryStores } from './near-stores.js'

const total = { schedules: 0, orders: 0, sampled: 0 }

async function holdSample (t: Test, name: string, race: NearRace, sample: typeof SMALL_SAMPLE, nextStores = nextMemoryStores, concurrency = 1): Promise<void> {
  const { schedules, violations } = await exploreNear(race, nextStores, { sample, concurrency })
  t.same(violations, [], `${name}: a sample of ${schedules} schedules`)
  total.sampled += schedules
}

for (const name of Object.keys(SMALL) as RaceName[]) {
  t.test(`what is revoked or changed is in no memory afterwards: ${name}`, async (t) => {
    if (!hasAllOrders(name)) return await holdSample(t, name, SMALL[name], SMALL_SAMPLE)
    const { schedules, orders, violations } = await exploreNear(SMALL[name], nextMemoryStores)
    t.same(violations, [], `${name}: ${schedules} schedules for ${orders} orders`)
    t.comment(`${name}: ${schedules} schedules for ${orders} orders`)
    total.schedules += schedules
    total.orders += orders
  })
}

for (const [name, race] of Object.entries(LARGE)) {
  t.test(`what is revoked or changed is in no memory afterwards, in sampled orders: ${name}`, async (t) => {
    await holdSample(t, name, race, LARGE_SAMPLE)
  })
}

t.test('the same with PostgreSQL and Redis, in sampled orders', async (t) => {
  const nextStores = createRealStores(await openProtocolBench(t), uniqueNamespace())
  for (const [name, race] of Object.entries<NearRace>({ ...SMALL, ...LARGE })) await holdSample(t, name, race, REAL_SAMPLE, nextStores, CONCURRENCY)
})

t.test('the counted orders with reduction equal the schedules that brute force runs', async (t) => {
  for (const name of COUNTED) {
    const reduced = await exploreNear(SMALL[name], nextMemoryStores)
    const all = await exploreNear(SMALL[name], nextMemoryStores, { independent: () => false })
    t.equal(reduced.orders, all.schedules, name)
    t.ok(reduced.schedules < all.schedules / 2)
    t.same(all.violations, [])
  }
})

for (const [name, { race, mistake, seed = 1 }] of Object.entries(NEAR_CONTROLS)) {
  t.test(`control: ${name} is caught`, async (t) => {
    const { schedules, violations: [first] } = await exploreNear({ ...SMALL[race], mistake }, nextMemoryStores, { sample: { schedules: CONTROL_SCHEDULES, seed }, stopAtFirst: true })
    t.match(first?.message, /accepts a revoked token/, `${schedules} schedules`)
    t.comment(`${name}: ${[...first?.schedule ?? [], first?.message].join(' > ')}`)
  })
}

t.test('members may be listed before the tombstone if who joins catches up, which begins after the commit', async (t) => {
  await holdSample(t, 'listed first', { ...SMALL[LISTED_FIRST.race], mistake: LISTED_FIRST.mistake }, SMALL_SAMPLE)
})

t.test('the number of schedules', async (t) => {
  t.ok(total.schedules > 0 && total.sampled > 0)
  say(`near cache: ${total.schedules} schedules run, for ${total.orders} orders of steps, and samples of ${total.sampled}`)
})
