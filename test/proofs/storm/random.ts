import { createRandom as createNumbers } from '../../../lib/testing/plans.js'

/** A source of random numbers that is repeatable with the same seed. */
export interface Random {
  /** In [0, 1). */
  next (): number
  /** An integer from `least` to `most`, both included. */
  between (least: number, most: number): number
  pick<Item> (items: readonly Item[]): Item
  /** One of the keys, chosen with the probability of its weight. */
  weighted<Key extends string> (weights: Record<Key, number>): Key
  shuffle<Item> (items: readonly Item[]): Item[]
}

export function createRandom (seed: number): Random {
  const below = createNumbers(seed)
  const next = () => below(2 ** 32) / 2 ** 32
  const between = (least: number, most: number) => least + Math.floor(next() * (most - least + 1))

  return {
    next,
    between,
    pick: (items) => items[between(0, items.length - 1)]!,
    weighted (weights) {
      const entries = Object.entries<number>(weights) as [keyof typeof weights, number][]
      let left = next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      return (entries.find(([, weight]) => (left -= weight) < 0) ?? entries.at(-1)!)[0]
    },
    shuffle (items) {
      const left = [...items]
      return items.map(() => left.splice(between(0, left.length - 1), 1)[0]!)
    }
  }
}
