import type { Settings } from './exploration.js'
import { areDependent, assertDependent, countOrders, NEVER } from './orders.js'
import type { Independent } from './orders.js'
import type { Choose } from './scheduler.js'
import type { TakenStep } from './waiting.js'

/** Decides which schedules are run. */
export interface Plan {
  /** Chooses the steps of the next schedule. `null`: none for now, but a schedule in progress may add more. */
  next (): Choose | null
  /** The number of orders that a finished schedule represents. */
  ordersOf (taken: readonly TakenStep[]): number
}

/** The first steps of a schedule, and the steps that need not follow them, because another branch covers those schedules. */
interface Branch { prefix: readonly string[], asleep: readonly string[] }

export function createPlan ({ sample, schedule, independent }: Pick<Settings<never>, 'sample' | 'schedule' | 'independent'>): Plan {
  if (sample !== null) return someOrders(sample)
  return schedule === null ? everyOrder(independent) : oneOrder(schedule)
}

function everyOrder (independent: Independent): Plan {
  const branches: Branch[] = [{ prefix: [], asleep: [] }]
  return {
    next () {
      const branch = branches.pop()
      return branch === undefined ? null : follow(branch, independent, branches)
    },
    ordersOf (taken) {
      // After the last step nothing was chosen.
      assertDependent(taken.at(-1), independent)
      return independent === NEVER ? 1 : countOrders(taken, independent)
    }
  }
}

/** Follows a branch and then always takes the first step that is not asleep. The other steps become branches. */
function follow ({ prefix, asleep }: Branch, independent: Independent, branches: Branch[]): Choose {
  const steps: string[] = []
  let sleeping = asleep

  return (possible, last) => {
    assertDependent(last, independent)
    const given = prefix[steps.length]
    if (given !== undefined) return go(given)
    const awake = possible.filter(({ label }) => !sleeping.includes(label))
    // A step that was taken from here before sleeps until a step that depends on it is taken.
    const explored = possible.filter(({ label }) => sleeping.includes(label))
    const children = awake.map((step) => {
      const child = { prefix: [...steps, step.label], asleep: explored.filter((other) => !areDependent(other, step, independent)).map(({ label }) => label) }
      explored.push(step)
      return child
    })
    const [first, ...others] = children
    if (first === undefined) return null
    branches.push(...others.reverse())
    sleeping = first.asleep
    return go(first.prefix.at(-1)!)
  }

  function go (label: string): string {
    steps.push(label)
    return label
  }
}

// Each schedule has its own random numbers, so it is the same whether or not others run at the same time.
function someOrders ({ schedules, seed }: { schedules: number, seed: number }): Plan {
  const nextSeed = createRandom(seed)
  let left = schedules
  return {
    next () {
      if (left-- <= 0) return null
      const below = createRandom(nextSeed(2 ** 32))
      return (possible) => possible.map(({ label }) => label).sort()[below(possible.length)]!
    },
    ordersOf: () => 1
  }
}

function oneOrder (schedule: readonly string[]): Plan {
  const schedules = [schedule]
  return {
    next () {
      const steps = schedules.pop()?.values()
      return steps === undefined ? null : ([first]) => steps.next().value ?? first!.label
    },
    ordersOf: () => 1
  }
}

/**
 * Random integers from 0 up to, but not including, the limit: Mulberry32. A seed gives the same numbers on every machine.
 * Not for secrets.
 */
export function createRandom (seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    const share = ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
    return Math.floor(share * limit)
  }
}
