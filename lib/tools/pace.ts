import type { Now } from '../../types/options.js'

export interface Pace {
  run<Result> (task: () => Promise<Result>): Promise<Result>
  /** How long a task takes, by the latest ones; 0 before the first has ended. */
  readonly meanMs: number
}

/** The weight of the latest task: an estimate that is wrong, as by a slow start, is forgotten within some tasks. */
const WEIGHT = 1 / 4

/** Measures how long tasks take, also those that fail: they keep their place as long. */
export function createPace ({ now }: { now: Now }): Pace {
  let meanMs: number | null = null

  return {
    async run (task) {
      const startedAt = now()
      try {
        return await task()
      } finally {
        const tookMs = now() - startedAt
        meanMs = meanMs === null ? tookMs : meanMs + (tookMs - meanMs) * WEIGHT
      }
    },
    get meanMs () { return meanMs ?? 0 }
  }
}
