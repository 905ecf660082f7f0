// `npm run test:faults`: storms with a seed of their own, which is printed. STORM_SEED repeats one; STORM_OPERATIONS and
// STORM_MODES (`strict,bounded,near`) make it shorter or longer.
import t from 'tap'
import { noPostgres } from '../helpers/postgres-server.js'
import { say } from '../helpers/say.js'
import { publish } from './storm/report.js'
import { runStorm, startServices } from './storm/storm.js'
import type { Mode } from './storm/modes.js'

const { STORM_SEED, STORM_OPERATIONS = '30000', STORM_MODES = 'strict,bounded,near' } = process.env
const seed = Number(STORM_SEED ?? Math.floor(Math.random() * 1e6))

t.test('no storm of faults breaks a promise', { skip: noPostgres }, async (t) => {
  const services = await startServices(t)
  for (const mode of STORM_MODES.split(',') as Mode[]) {
    await t.test(`${mode}, seed ${seed}`, async (t) => {
      const report = await runStorm(t, services, { mode, seed, operations: Number(STORM_OPERATIONS), onProgress: (percent) => say(`${mode}, seed ${seed}: ${percent} %`) })
      await publish(report)
      t.same([...report.violations.map(({ rule, because }) => `${rule}: ${because}`), ...report.troubles], [])
    })
  }
})
