import t from 'tap'
import { noPostgres } from '../../helpers/postgres-server.js'
import { failuresOf, kindsOf, publish } from './report.js'
import { startServices } from './services.js'
import { runStorm } from './storm.js'
import type { StormSettings } from './storm.js'

/** One storm in `npm test`; one of each mode in `npm run test:proofs`. */
const isShort = process.env['STORMS'] !== 'full'
const FAULTS = 12
const KINDS = 8
// Long enough for a slow machine. A storm that is stopped fails because of the missing faults.
const COMMON = { mostMs: 450_000, hasLongFaults: false }
// `npm run test:faults` runs a longer form, with a new seed and every mode at every isolation level.
const STORMS: StormSettings[] = [
  { mode: 'strict', isolation: 'read committed', seed: 1, least: { operations: 1500, faults: FAULTS, kinds: KINDS }, ...COMMON },
  { mode: 'bounded', isolation: 'repeatable read', seed: 2, least: { operations: 700, faults: FAULTS, kinds: KINDS }, ...COMMON },
  { mode: 'near', isolation: 'serializable', seed: 3, least: { operations: 700, faults: FAULTS, kinds: KINDS }, ...COMMON }
]

t.test('no storm of faults violates a guarantee', { skip: noPostgres }, async (t) => {
  const services = await startServices(t)
  for (const settings of isShort ? STORMS.slice(-1) : STORMS) {
    const { mode, isolation, seed } = settings
    await t.test(`${mode}, ${isolation}, seed ${seed}`, async (t) => {
      const report = await runStorm(t, services, settings)
      await publish(report)
      t.same(failuresOf(report), [])
      const { name, faults, failed } = report
      t.ok(faults.length >= FAULTS && kindsOf(faults).size >= KINDS, `${name}: there were enough faults`)
      t.ok(failed.length <= faults.length / 10, `${name}: ${failed.length} faults could not begin`)
    })
  }
})
