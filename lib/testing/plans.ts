import { NEVER } from './exploration.js'
import type { Settings } from './exploration.js'
import { areDependent, countOrders } from './orders.js'
import type { Independent } from './orders.js'
import { createRandom } from './random.js'
import type { Choose, TakenStep } from './scheduler.js'

/** Which schedules are run. */
export interface Plan {
  /** How to choose the steps of the next schedule; `null`: there is none now, but one that is being run may lead to more. */
  next (): Choose | null
  /** How many orders a schedule that was run stands for. */
  ordersOf (taken: readonly TakenStep[]): number
}

/** The first steps of a schedule, and steps whose schedules from there on are run elsewhere. */
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
    ordersOf: (taken) => independent === NEVER ? 1 : countOrders(taken, independent)
  }
}

/** Follows a branch to its end and beyond, always the first step that is not asleep, and notes the others as branches. */
function follow ({ prefix, asleep }: Branch, independent: Independent, branches: Branch[]): Choose {
  const steps: string[] = []
  let sleeping = asleep

  return (possible) => {
    const given = prefix[steps.length]
    if (given !== undefined) return go(given)
    const awake = possible.filter(({ label }) => !sleeping.includes(label))
    // A step that was run before, from here, sleeps until one comes that it is not independent of.
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

// Each schedule has numbers of its own, so that it is the same when others run beside it.
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
