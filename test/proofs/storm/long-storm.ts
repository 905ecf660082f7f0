// `npm run test:faults`: storms with a seed of their own, which is printed. STORM_SEED repeats one; STORM_OPERATIONS (a mode),
// STORM_MODES (`strict,bounded,near`) and STORM_ISOLATIONS (`read committed,repeatable read,serializable`) make it shorter or longer.
import t from 'tap'
import { noPostgres } from '../../helpers/postgres-server.js'
import { say } from '../../helpers/say.js'
import { ISOLATIONS } from './modes.js'
import type { Isolation, Mode } from './modes.js'
import { FAULTS } from './nemesis.js'
import { failuresOf, kindsOf, publish } from './report.js'
import { startServices } from './services.js'
import { runStorm } from './storm.js'

const { STORM_SEED, STORM_OPERATIONS = '30000', STORM_MODES = 'strict,bounded,near', STORM_ISOLATIONS = ISOLATIONS.join() } = process.env
const modes = STORM_MODES.split(',') as Mode[]
const isolations = STORM_ISOLATIONS.split(',') as Isolation[]
/** A storm that takes longer is stopped, and fails because of the missing faults. */
const MOST_MS = 1_100_000 / isolations.length
const seed = Number(STORM_SEED ?? Math.floor(Math.random() * 1e6))
const settings = modes.flatMap((mode) => isolations.map((isolation) => ({ mode, isolation, seed, name: `${mode}, ${isolation}, seed ${seed}` })))

t.test('no storm of faults violates a guarantee', { skip: noPostgres }, async (t) => {
  const services = await startServices(t)
  for (const { name, ...setting } of settings) {
    await t.test(name, async (t) => {
      const report = await runStorm(t, services, {
        ...setting,
        least: { operations: Math.ceil(Number(STORM_OPERATIONS) / isolations.length), faults: FAULTS.length, kinds: FAULTS.length },
        mostMs: MOST_MS,
        hasLongFaults: true,
        onProgress: (percent) => say(`${name}: ${percent} %`)
      })
      await publish(report)
      t.same(failuresOf(report), [])
      const { faults, failed } = report
      const kinds = kindsOf(faults)
      t.same(FAULTS.filter((fault) => !kinds.has(fault)).map((fault) => `${name}: ${fault}`), [], 'every fault has happened')
      t.ok(failed.length <= faults.length / 10, `${name}: ${failed.length} faults could not begin`)
    })
  }
})
