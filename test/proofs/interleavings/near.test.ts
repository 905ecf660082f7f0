import t from 'tap'
import { NEAR_CONTROLS } from './near-mistakes.js'
import { exploreNear } from './near-races.js'
import type { NearRace } from './near-races.js'
import { LARGE, SMALL } from './near-scenarios.js'
import { nextMemoryStores } from './near-stores.js'

const isFull = process.env['INTERLEAVINGS'] === 'full'
/** Schedules of each race; a mistake is found within a few hundred. */
const SCHEDULES = isFull ? 400 : 30
const MOST = 5000

for (const [name, race] of Object.entries({ ...SMALL, ...LARGE }) as [string, NearRace][]) {
  t.test(`no server accepts a token after its end was answered: ${name}`, async (t) => {
    const { violations, schedules } = await exploreNear(race, nextMemoryStores, { sample: { schedules: SCHEDULES } })
    t.same(violations, [])
    t.equal(schedules, SCHEDULES)
  })
}

for (const [name, { race, mistake }] of Object.entries(NEAR_CONTROLS)) {
  t.test(`control: ${name}`, async (t) => {
    const { violations } = await exploreNear({ ...SMALL[race], mistake }, nextMemoryStores, { sample: { schedules: MOST }, stopAtFirst: true })
    t.ok(violations.length > 0)
  })
}
