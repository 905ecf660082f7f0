import type { Now } from '../../types/options.js'

export interface Pace {
  run<Result> (task: () => Promise<Result>): Promise<Result>
  /** Estimated duration of a task, from the latest ones; 0 before the first has ended. */
  readonly meanMs: number
}

/** The weight of the latest task: a wrong estimate, for instance after a slow start, is corrected within a few tasks. */
const WEIGHT = 1 / 4

/** Measures the duration of tasks, including failed ones, which hold their slot just as long. */
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
