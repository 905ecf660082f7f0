import t from 'tap'
import { exploreNear } from './near-races.js'
import { NEAR_CONTROLS } from './near-mistakes.js'
import type { NearRace } from './near-races.js'
import { nextMemoryStores } from './near-stores.js'
import { LARGE, SMALL } from './near-scenarios.js'

const log = (...p: unknown[]) => process.stderr.write(p.join(' ') + '\n')
for (const [name, { race, mistake }] of Object.entries(NEAR_CONTROLS)) {
  t.test(name, async (t) => {
    const start = performance.now()
    const r = await exploreNear({ ...SMALL[race], mistake }, nextMemoryStores, { sample: { schedules: 3000 }, stopAtFirst: true })
    t.equal(r.violations.length, 1)
    log('CONTROL', name, r.schedules, performance.now() - start, r.violations[0]?.message)
  })
}
for (const [name, race] of Object.entries({ ...SMALL, ...LARGE }) as [string, NearRace][]) {
  t.test(name, async (t) => {
    const start = performance.now()
    const r = await exploreNear(race, nextMemoryStores, { sample: { schedules: 150 } })
    t.same(r.violations.slice(0, 3), [])
    log(name, r.schedules, performance.now() - start, r.violations.length, r.violations[0]?.message, r.violations[0]?.schedule.join(', '))
  })
}
