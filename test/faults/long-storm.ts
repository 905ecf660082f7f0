// `npm run test:faults`: storms with a seed of their own, which is printed. STORM_SEED repeats one; STORM_OPERATIONS and
// STORM_MODES (`strict,bounded,near`) make it shorter or longer.
import t from 'tap'
import { noPostgres } from '../helpers/postgres-server.js'
import { say } from '../helpers/say.js'
import type { Mode } from './storm/modes.js'
import { FAULTS } from './storm/nemesis.js'
import { publish } from './storm/report.js'
import { startServices } from './storm/services.js'
import { runStorm } from './storm/storm.js'

const { STORM_SEED, STORM_OPERATIONS = '30000', STORM_MODES = 'strict,bounded,near' } = process.env
/** A storm that takes longer is cut off, and fails for the faults that it did not have. */
const MOST_MS = 1_100_000
const seed = Number(STORM_SEED ?? Math.floor(Math.random() * 1e6))

t.test('no storm of faults breaks a promise', { skip: noPostgres }, async (t) => {
  const services = await startServices(t)
  for (const mode of STORM_MODES.split(',') as Mode[]) {
    await t.test(`${mode}, seed ${seed}`, async (t) => {
      const report = await runStorm(t, services, {
        mode,
        seed,
        least: { operations: Number(STORM_OPERATIONS), faults: FAULTS.length, kinds: FAULTS.length },
        mostMs: MOST_MS,
        hasLongFaults: true,
        onProgress: (percent) => say(`${mode}, seed ${seed}: ${percent} %`)
      })
      await publish(report)
      t.same([...report.violations.map(({ rule, because }) => `${rule}: ${because}`), ...report.troubles], [])
      const { faults, failed } = report
      t.same(FAULTS.filter((fault) => !faults.some(({ name }) => name === fault)), [], 'every fault has happened')
      t.ok(failed.length <= faults.length / 10, `${failed.length} faults could not begin`)
    })
  }
})
