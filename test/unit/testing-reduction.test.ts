import t from 'tap'
import { createTestClock, exploreInterleavings } from '../../lib/testing/index.js'
import type { Exploration, Process, Step, Wrap } from '../../lib/testing/index.js'
import { createRandom } from '../../lib/testing/plans.js'

interface Ends { states: string[], schedules: number, orders: number }

/** The states in which schedules end, by deadlock or otherwise. */
async function endsOf<World> (exploration: Omit<Exploration<World>, 'setup'> & { setup: (wrap: Wrap) => World }): Promise<Ends> {
  const states = new Set<string>()
  let world: World | undefined
  const { schedules, orders } = await exploreInterleavings<World>({
    ...exploration,
    setup: (wrap) => (world = exploration.setup(wrap)),
    onProgress: () => { states.add(JSON.stringify(world)) }
  })
  return { states: [...states].sort(), schedules, orders }
}

const CALLS = ['put', 'take', 'unless', 'swap'] as const
type Call = typeof CALLS[number]

/** Programs over three numbers. A port stands for the numbers that its name consists of. */
interface Machine {
  numbers: Record<string, number>
  seen: Record<string, number[]>
  ports: Record<string, Record<Call, () => Promise<number>>>
}

function createMachine (wrap: Wrap): Machine {
  const numbers: Record<string, number> = { x: 0, y: 0, z: 0 }
  const port = (name: string) => {
    const [first, last] = [name.at(0)!, name.at(-1)!]
    return wrap(name, {
      put: async () => ++numbers[first]!,
      take: async () => --numbers[last]!,
      unless: async () => ++numbers[last]!,
      swap: async () => { [numbers[first], numbers[last]] = [numbers[last]!, numbers[first]!]; return numbers[first]! }
    }, { when: { take: () => numbers[last]! > 0, unless: () => numbers[first] === 0 && numbers[last]! < 2 } })
  }
  const names = ['x', 'y', 'z', 'xy', 'yz']
  return { numbers, seen: {}, ports: Object.fromEntries(names.map((name) => [name, port(name)])) }
}

function createProgram (below: (limit: number) => number, name: string, length: number): Process<Machine> {
  const steps = Array.from({ length }, () => [['x', 'y', 'z', 'xy', 'yz'][below(5)]!, CALLS[below(CALLS.length)]!] as const)
  return async ({ ports, seen }) => {
    const own: number[] = []
    seen[name] = own
    for (const [port, call] of steps) own.push(await ports[port]![call]())
  }
}

const touchNothingInCommon = (one: Step, other: Step) => ![...one.port].some((number) => other.port.includes(number))

t.test('with `independent`, random programs end in the same states and deadlocks as in all orders', async (t) => {
  let [saved, ends, deadlocks] = [0, 0, 0]
  for (let seed = 0; seed < 40; seed++) {
    const below = createRandom(seed)
    const processes = {
      ann: createProgram(below, 'ann', 3),
      bob: createProgram(below, 'bob', 2),
      eve: { isDaemon: seed % 2 === 0, run: createProgram(below, 'eve', 2) }
    }
    const all = await endsOf({ setup: createMachine, processes })
    const reduced = await endsOf({ setup: createMachine, processes, independent: touchNothingInCommon })
    t.same(reduced.states, all.states, `seed ${seed}: ${reduced.schedules} schedules for ${all.schedules}`)
    t.equal(reduced.orders, all.schedules)
    saved += all.schedules - reduced.schedules
    ends += all.states.length
    deadlocks += all.states.filter((state) => Object.values((JSON.parse(state) as Machine).seen).flat().length < 7).length
  }
  t.comment(`${saved} schedules saved, ${ends} ends, ${deadlocks} of them early`)
  t.ok(saved > 1000 && deadlocks > 50 && ends - deadlocks > 50)
})

/** A message that may be late, a receiver that waits for it for 2 ms at most, and a process beside them. */
function createTimedRace (wrap: Wrap) {
  const clock = createTestClock(wrap)
  const world = { sent: 0, arrived: 0, noted: 0, log: [] as string[] }
  const wire = wrap('wire', {
    send: async () => { world.sent++ },
    deliver: async () => { world.sent--; world.arrived++ },
    receive: async (_options: { signal: AbortSignal }) => { world.arrived-- }
  }, { when: { deliver: () => world.sent > 0, receive: () => world.arrived > 0 } })
  const notes = wrap('notes', { add: async () => { world.noted++ }, read: async () => world.noted })
  return { clock, wire, notes, world, toJSON: () => ({ ...world, now: clock.now() }) }
}

type TimedRace = ReturnType<typeof createTimedRace>

const TIMED_RACE: Exploration<TimedRace>['processes'] = {
  sender: async ({ clock, wire }) => { await clock.pause(1); await wire.send() },
  receiver: async ({ clock, wire, notes, world }) => {
    const over = new AbortController()
    const received = wire.receive(over).then(() => 'received')
    world.log.push(await Promise.race([received, clock.pause(2, over).then(() => 'timed out')]))
    over.abort()
    world.log.push(`${await notes.read()} at ${clock.now()}`)
  },
  writer: async ({ notes }) => { await notes.add() },
  network: { isDaemon: true, run: async ({ wire }) => { for (;;) await wire.deliver() } },
  clock: { isDaemon: true, run: async ({ clock }) => await clock.run() }
}

t.test('so do timers, and calls that are withdrawn', async (t) => {
  const touchedBy = ({ process, port, call }: Step) => {
    if (port === 'notes') return call === 'add' ? ['notes'] : ['notes', 'time']
    // The sender's pause and the receiver's calls begin or end pauses.
    return process === 'receiver' ? ['arrived', 'time'] : ({ pause: ['time'], tick: ['time'], send: ['sent'], deliver: ['sent', 'arrived'] })[call]!
  }
  const independent = (one: Step, other: Step) => !touchedBy(one).some((part) => touchedBy(other).includes(part))
  const all = await endsOf({ setup: createTimedRace, processes: TIMED_RACE })
  const reduced = await endsOf({ setup: createTimedRace, processes: TIMED_RACE, independent })
  t.same(reduced.states, all.states, `${reduced.schedules} schedules for ${all.schedules}`)
  t.equal(reduced.orders, all.schedules)
  t.ok(reduced.schedules < all.schedules / 2)
  for (const log of ['received', 'timed out']) t.ok(all.states.some((state) => state.includes(log)), log)
})

t.test('an answer of `independent` that a condition contradicts is refused', async (t) => {
  const setup = (wrap: Wrap) => {
    const box = { messages: 0 }
    const port = wrap('box', { put: async () => { box.messages++ }, take: async () => { box.messages-- } }, { when: { take: () => box.messages > 0 } })
    return { put: port.put, take: port.take }
  }
  const take = async (box: ReturnType<typeof setup>) => { await box.take() }
  const put = async (box: ReturnType<typeof setup>) => { await box.put() }
  const race = { setup, processes: { ann: put, bob: take, eve: take } }
  await t.rejects(exploreInterleavings({ ...race, independent: (one, other) => one.call !== other.call }), {
    message: 'independent must be false for ann: box.put and bob: box.take: the first changes the condition of the second'
  })
  await t.rejects(exploreInterleavings({ ...race, independent: (one, other) => one.call === other.call }), {
    message: 'independent must be false for bob: box.take and eve: box.take: the first changes the condition of the second'
  })
  const ignored = await exploreInterleavings({ ...race, independent: () => true, sample: { schedules: 5 } })
  t.equal(ignored.violations.length, 5)
})
