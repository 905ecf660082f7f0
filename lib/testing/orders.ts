import type { Step, TakenStep } from './waiting.js'

/** Whether two steps of different processes have the same effect in either order, and neither makes the other possible or impossible. */
export type Independent = (one: Step, other: Step) => boolean

/** No steps are independent. */
export const NEVER: Independent = () => false

/** The bits of a number that JavaScript can shift. */
const MOST_STEPS = 30

/**
 * The number of orders that one schedule represents: those reached by swapping independent neighbours.
 * It counts the linear extensions of the order of the dependent steps.
 */
export function countOrders (taken: readonly TakenStep[], independent: Independent): number {
  if (taken.length > MOST_STEPS) throw new Error(`the orders of more than ${MOST_STEPS} steps cannot be counted: use fewer, or no \`independent\``)
  const before = taken.map((one, index) => mustPrecede(taken, index, one, independent))
  const counts = new Map<number, number>([[0, 1]])
  // Each key is a set of steps as bits. A Map also iterates over entries that are added meanwhile, here from smaller to larger sets.
  for (const [done, count] of counts) {
    for (const [index, needed] of before.entries()) {
      const bit = 1 << index
      if ((done & bit) !== 0 || (done & needed) !== needed) continue
      counts.set(done | bit, (counts.get(done | bit) ?? 0) + count)
    }
  }
  return counts.get((1 << taken.length) - 1) as number
}

function mustPrecede (taken: readonly TakenStep[], index: number, { step, enabledBy }: TakenStep, independent: Independent): number {
  const earlier = taken.slice(0, index).map((other, at) => ({ at, step: other.step }))
  return earlier
    .filter((other) => other.at === enabledBy || areDependent(other.step, step, independent))
    .reduce((bits, { at }) => bits | (1 << at), 0)
}

export function areDependent (one: Step, other: Step, independent: Independent): boolean {
  return one.process === other.process || !independent(one, other)
}

/**
 * Refuses an answer that the last step has shown to be wrong. To correct it instead would not be enough: which steps change a condition may
 * depend on states that the wrong answer has left out.
 */
export function assertDependent (last: TakenStep | undefined, independent: Independent): void {
  const other = last?.changed.find((waiting) => !areDependent(last.step, waiting, independent))
  if (other !== undefined) throw new Error(`independent must be false for ${last!.step.label} and ${other.label}: the first changes the condition of the second`)
}
