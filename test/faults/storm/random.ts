/** A source of numbers that a seed repeats. */
export interface Random {
  /** In [0, 1). */
  next (): number
  /** An integer from `least` to `most`, both included. */
  between (least: number, most: number): number
  pick<Item> (items: readonly Item[]): Item
  /** One of the keys, each as likely as its weight says. */
  weighted<Key extends string> (weights: Record<Key, number>): Key
  shuffle<Item> (items: readonly Item[]): Item[]
}

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state are enough to choose operations and faults. */
export function createRandom (seed: number): Random {
  let state = seed >>> 0

  function next (): number {
    state = (state + 0x6D2B79F5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

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
