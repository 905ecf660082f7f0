import t from 'tap'
import { exploreInterleavings } from '../../lib/testing/index.js'
import type { Exploration, InterleavingReport, Processes, Wrap } from '../../lib/testing/index.js'

/** Messages that one process sends and another awaits. */
function createBox () {
  const messages: string[] = []
  return {
    messages,
    put: async (message: string) => { messages.push(message) },
    take: async (_options?: { signal?: AbortSignal }) => messages.shift(),
    takeOf: async (sender: string) => messages.splice(messages.indexOf(sender), 1)[0],
    ask: (done: (message: string) => void) => done(messages.shift()!),
    isEmpty: async () => messages.length === 0
  }
}

type Box = ReturnType<typeof createBox>

function wrapBox (wrap: Wrap): Box {
  const box = createBox()
  const isFilled = () => box.messages.length > 0
  return wrap('box', box, { when: { take: isFilled, ask: isFilled, takeOf: (sender) => box.messages.includes(sender) } })
}

const shown = () => { throw new Error('shown') }
const put = async (box: Box) => await box.put('m')
const take = async (box: Box) => { await box.take() }
const serve = async (box: Box) => { for (;;) await box.take() }

async function explore (processes: Processes<Box>, more: Partial<Exploration<Box>> = {}): Promise<InterleavingReport> {
  return await exploreInterleavings<Box>({ setup: wrapBox, processes, ...more })
}

const schedulesOf = ({ violations }: InterleavingReport) => violations.map(({ schedule }) => schedule.join(', '))

t.test('a call with a condition is possible only while it holds', async (t) => {
  const report = await explore({ ann: put, bob: async (box) => { t.equal(await box.take(), 'm') } }, { check: shown })
  t.same(schedulesOf(report), ['ann: box.put, bob: box.take'])
  const { schedules, violations } = await explore({ ann: put, bob: take, eve: async (box) => { if (!await box.isEmpty()) await box.take() } })
  t.equal(schedules, 4)
  t.same(violations, [{
    schedule: ['ann: box.put', 'eve: box.isEmpty', 'bob: box.take'],
    message: 'deadlock: eve cannot go on, since no waiting step is possible (eve: box.take)'
  }, {
    schedule: ['ann: box.put', 'eve: box.isEmpty', 'eve: box.take'],
    message: 'deadlock: bob cannot go on, since no waiting step is possible (bob: box.take)'
  }], 'the message of one is taken by the other')
})

t.test('a condition gets the arguments of the call, and applies to calls with a callback too', async (t) => {
  const report = await explore({
    ann: async (box) => { await box.put('a'); await box.put('b') },
    bob: async (box) => { await box.takeOf('b') },
    eve: async (box) => { t.equal(await new Promise((resolve) => box.ask(resolve)), 'a') }
  }, { check: shown, schedule: ['ann: box.put', 'ann: box.put #2', 'bob: box.takeOf'] })
  t.same(schedulesOf(report), ['ann: box.put, ann: box.put #2, bob: box.takeOf, eve: box.ask'])
  const early = explore({ ann: put, bob: async (box) => { await box.takeOf('b') } }, { schedule: ['bob: box.takeOf'] })
  await t.rejects(early, { message: 'bob: box.takeOf: cannot come now, only ann: box.put' })
})

t.test('outside of a process a call needs no condition', async (t) => {
  const report = await explore({ ann: put }, { check: async (box) => { t.same([await box.take(), await box.take()], ['m', undefined]) } })
  t.same(report.violations, [])
})

t.test('a deadlock is a violation with its schedule, which can be run again, and nothing is checked after it', async (t) => {
  const free = { a: true, b: true }
  const setup = (wrap: Wrap) => {
    Object.assign(free, { a: true, b: true })
    return wrap('locks', {
      lock: async (name: 'a' | 'b') => { free[name] = false },
      unlock: async () => { Object.assign(free, { a: true, b: true }) }
    }, { when: { lock: (name) => free[name] } })
  }
  const inOrder = (...names: ('a' | 'b')[]) => async (locks: ReturnType<typeof setup>) => {
    for (const name of names) await locks.lock(name)
    await locks.unlock()
  }
  let checks = 0
  const race = { setup, processes: { ann: inOrder('a', 'b'), bob: inOrder('b', 'a'), late: { after: 'ann', run: inOrder() } }, check: () => { checks++ } }
  const report = await exploreInterleavings(race)
  const [one, other] = report.violations
  t.equal(report.violations.length, 2)
  t.equal(checks, report.schedules - 2)
  const message = 'deadlock: ann, bob cannot go on, since no waiting step is possible (ann: locks.lock #2, bob: locks.lock)'
  t.same(one, { schedule: ['ann: locks.lock', 'bob: locks.lock'], message: message.replace('bob: locks.lock)', 'bob: locks.lock #2)') })
  t.same(other!.schedule, ['bob: locks.lock', 'ann: locks.lock'])
  t.equal(other!.message, one!.message, 'in another order the same')
  t.same((await exploreInterleavings({ ...race, schedule: one!.schedule })).violations, [one])
  const tooLong = [...one!.schedule, 'ann: locks.unlock']
  await t.rejects(exploreInterleavings({ ...race, schedule: tooLong }), { message: `ann: locks.unlock: cannot come now, ${one!.message}` })
})

t.test('a process that can never take its first step is a deadlock, not an empty schedule', async (t) => {
  t.same(await explore({ ann: take }), {
    schedules: 1,
    orders: 1,
    violations: [{ schedule: [], message: 'deadlock: ann cannot go on, since no waiting step is possible (ann: box.take)' }],
    sample: null
  })
})

t.test('a daemon may still wait at the end, but takes every step that is possible', async (t) => {
  const check = async (box: Box) => { t.ok(await box.isEmpty()) }
  t.same((await explore({ ann: put, bob: put, network: { isDaemon: true, run: serve } }, { check })).violations, [])
  const { violations: [first] } = await explore({ ann: put, network: serve }, { check })
  t.equal(first!.message, 'deadlock: network cannot go on, since no waiting step is possible (network: box.take #2)', 'without the setting')
  const { violations: [second] } = await explore({ ann: put, network: { isDaemon: true, run: serve }, late: { after: 'network', run: put } })
  t.equal(second!.message, 'late: has not started, since network has not resolved')
})

t.test('a daemon that waits for nothing is an error, and so is one that waits for something other than a step', async (t) => {
  const endless = { isDaemon: true, run: async (box: Box) => { for (;;) await box.put('m') } }
  await t.rejects(explore({ ann: put, endless }), { message: 'endless: box.put #5000: is one of more than 5000 steps. A process must end, or wait for a condition' })
  const idler = { isDaemon: true, run: () => new Promise<void>(() => {}) }
  await t.rejects(explore({ ann: put, idler }), { message: 'idler: waits for something that is no step' })
})

t.test('a waiting call is withdrawn when its signal is aborted, and the calls that were taken are not', async (t) => {
  const reasons: string[] = []
  const process = async (box: Box) => {
    const over = new AbortController()
    const raced = box.take(over).catch((error: Error) => { reasons.push(error.name) })
    await box.put('a')
    const taken = box.takeOf('a')
    over.abort()
    await Promise.all([raced, taken])
    await box.take(over).catch((error: Error) => { reasons.push(error.name) })
  }
  const report = await explore({ ann: process }, { check: shown, stopAtFirst: true, schedule: ['ann: box.put'] })
  t.same(schedulesOf(report), ['ann: box.put, ann: box.takeOf'])
  t.same(reasons, ['AbortError', 'AbortError'])
})

t.test('a signal that is aborted after its call changes nothing', async (t) => {
  const over = new AbortController()
  const process = async (box: Box) => {
    await box.put('a')
    t.equal(await box.take(over), 'a')
    over.abort()
    await box.put('b')
  }
  t.same((await explore({ ann: process })).violations, [])
})

t.test('a call that lost a race and is not withdrawn may take its step later, but need not', async (t) => {
  const race = async (box: Box) => { await Promise.race([box.take(), box.put('m')]) }
  t.same((await explore({ ann: race }, { check: async (box) => { t.ok(await box.isEmpty()) } })).violations, [])
  const never = async (box: Box) => { await Promise.race([box.takeOf('x'), box.put('m')]) }
  t.same((await explore({ ann: never })).violations, [])
})

t.test('conditions of unknown methods, and those that do not give true or false, are refused', async (t) => {
  const refused: [string, object, string][] = [
    ['no object', { when: 'take' }, 'when must be an object, got "take"'],
    ['an unknown method', { when: { tkae: () => true } }, 'each of when must be a method of box, got "tkae"'],
    ['no function', { when: { take: true } }, 'when.take must be a function, got true'],
    ['a promise', { when: { take: async () => true } }, 'what when.take gives must be true or false, got an instance of Promise']
  ]
  for (const [name, settings, message] of refused) {
    await t.rejects(explore({ ann: take }, { setup: (wrap) => wrap('box', createBox(), settings) }), { message, code: 'FST_TOKEN_AUTH_INVALID_OPTION' }, name)
  }
  const failing = (wrap: Wrap) => wrap('box', createBox(), { when: { take: () => { throw new Error('it fails') } } })
  await t.rejects(explore({ ann: take }, { setup: failing }), { message: 'it fails' })
})
