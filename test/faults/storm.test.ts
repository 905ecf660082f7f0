import t from 'tap'
import { noPostgres } from '../helpers/postgres-server.js'
import { kindsOf, publish } from './storm/report.js'
import { startServices } from './storm/services.js'
import { runStorm } from './storm/storm.js'
import type { StormSettings } from './storm/storm.js'

const FAULTS = 12
const KINDS = 8
const COMMON = { mostMs: 120_000, hasLongFaults: false }
// The long form, with seeds of its own, is `npm run test:faults`.
const SHORT: StormSettings[] = [
  { mode: 'strict', seed: 1, least: { operations: 1500, faults: FAULTS, kinds: KINDS }, ...COMMON },
  { mode: 'bounded', seed: 2, least: { operations: 700, faults: FAULTS, kinds: KINDS }, ...COMMON },
  { mode: 'near', seed: 3, least: { operations: 700, faults: FAULTS, kinds: KINDS }, ...COMMON }
]

t.test('no storm of faults breaks a promise', { skip: noPostgres }, async (t) => {
  const services = await startServices(t)
  for (const settings of SHORT) {
    await t.test(`${settings.mode}, seed ${settings.seed}`, async (t) => {
      const report = await runStorm(t, services, settings)
      await publish(report)
      t.same(report.violations.map(({ rule, because }) => `${rule}: ${because}`), [])
      t.same(report.troubles, [])
      const { faults, failed } = report
      t.ok(faults.length >= FAULTS && kindsOf(faults) >= KINDS, 'it was a storm')
      t.ok(failed.length <= faults.length / 10, `${failed.length} faults could not begin`)
    })
  }
})
