import t from 'tap'
import { exploreInterleavings } from '../../lib/testing/index.js'
import type { Exploration, Wrap } from '../../lib/testing/index.js'

interface Port { step (): Promise<void> }

const run = async (port: Port) => { await port.step() }

/** Explores with options that may be wrong. */
async function explore (options: object) {
  const right = { setup: (wrap: Wrap) => wrap('port', { step: async () => {} }), processes: { ann: run } }
  return await exploreInterleavings({ ...right, ...options } as Exploration<Port>)
}

const REFUSED: [string, object, string][] = [
  ['no setup', { setup: undefined }, 'setup must be a function, got undefined'],
  ['no processes', { processes: undefined }, 'processes must be an object with at least one process, got undefined'],
  ['no process', { processes: {} }, 'processes must be an object with at least one process, got an object'],
  ['a process that is a number', { processes: { ann: 7 } }, 'processes.ann must be a function, or { run, after, isDaemon }, got 7'],
  ['a process without `run`', { processes: { ann: run, late: { after: 'ann' } } }, 'processes.late.run must be a function, got undefined'],
  ['a misspelt `after`', { processes: { ann: run, late: { afer: 'ann', run } } }, 'Unknown option "processes.late.afer"; known options: run, after, isDaemon'],
  ['a daemon that is a text', { processes: { ann: run, late: { isDaemon: 'yes', run } } }, 'processes.late.isDaemon must be true or false, got "yes"'],
  ['after an unknown process', { processes: { ann: run, bob: run, late: { after: 'an', run } } }, 'processes.late.after must be another process (ann, bob), got "an"'],
  ['after itself', { processes: { late: { after: 'late', run } } }, 'processes.late.after must be another process (there is none), got "late"'],
  ['after each other', { processes: { ann: run, late: { after: 'one', run }, one: { after: 'other', run }, other: { after: 'one', run } } },
    'processes.one.after must be a process that does not wait for this one, got "other"'],
  ['a concurrency of 0', { concurrency: 0 }, 'concurrency must be an integer from 1 to 1000, got 0'],
  ['a concurrency of NaN', { concurrency: NaN }, 'concurrency must be an integer from 1 to 1000, got NaN'],
  ['a number as a text', { maxSchedules: 'many' }, 'maxSchedules must be an integer from 1 to 1000000000, got "many"'],
  ['a misspelt option', { chek: () => {} }, 'Unknown option "chek"; known options: setup, processes, check, independent, maxSchedules, sample, concurrency, stopAtFirst, schedule, timeoutMs, onProgress'],
  ['a sample of nothing', { sample: { schedules: 0 } }, 'sample.schedules must be an integer from 1 to 1000000000, got 0'],
  ['a sample that is a number', { sample: 100 }, 'sample must be an object, got 100'],
  ['an invalid seed', { sample: { schedules: 1, seed: -1 } }, 'sample.seed must be an integer from 0 to 4294967295, got -1'],
  ['a sample of one schedule', { sample: { schedules: 1 }, schedule: [] }, 'sample must be left out where there is a schedule, got an object'],
  ['a schedule that is a text', { schedule: 'ann: port.step' }, 'schedule must be an array, got "ann: port.step"']
]

t.test('options that would be ignored, or would keep processes from running, are rejected', async (t) => {
  for (const [name, options, message] of REFUSED) await t.rejects(explore(options), { message, code: 'FST_TOKEN_AUTH_INVALID_OPTION' }, name)
  const error: unknown = await explore({ concurrency: 0 }).catch((error: unknown) => error)
  t.type(error, TypeError)
})

t.test('an undefined option has its default', async (t) => {
  const names = ['check', 'independent', 'maxSchedules', 'sample', 'concurrency', 'stopAtFirst', 'schedule', 'timeoutMs', 'onProgress']
  const process = { run, after: undefined, isDaemon: undefined }
  const setup = (wrap: Wrap) => wrap('port', { step: async () => {} }, { replies: undefined, when: undefined })
  const report = await explore({ ...Object.fromEntries(names.map((name) => [name, undefined])), processes: { ann: process }, setup })
  t.same(report, { schedules: 1, orders: 1, violations: [], sample: null })
})

t.test('a port that is not an object, and a reply of an unknown method, are rejected', async (t) => {
  await t.rejects(explore({ setup: (wrap: Wrap) => wrap('sql', undefined as unknown as Port) }), { message: 'the port sql must be an object, got undefined' })
  const setup = (wrap: Wrap) => wrap('sql', { step: async () => {} }, { replies: ['stop'] })
  await t.rejects(explore({ setup }), { message: 'replies[0] must be a method of sql, got "stop"' })
})
