import t from 'tap'
import { noPostgres } from '../helpers/postgres-server.js'
import { publish } from './storm/report.js'
import { runStorm, startServices } from './storm/storm.js'
import type { StormSettings } from './storm/storm.js'

// The long form, with seeds of its own, is `npm run test:faults`.
const SHORT: StormSettings[] = [
  { mode: 'strict', seed: 1, operations: 1500 },
  { mode: 'bounded', seed: 2, operations: 700 },
  { mode: 'near', seed: 3, operations: 700 }
]

t.test('no storm of faults breaks a promise', { skip: noPostgres }, async (t) => {
  const services = await startServices(t)
  for (const settings of SHORT) {
    await t.test(`${settings.mode}, seed ${settings.seed}`, async (t) => {
      const report = await runStorm(t, services, settings)
      await publish(report)
      t.same(report.violations.map(({ rule, because }) => `${rule}: ${because}`), [])
      t.same(report.troubles, [])
      t.ok(report.faults.length > 0, 'there were faults')
    })
  }
})
