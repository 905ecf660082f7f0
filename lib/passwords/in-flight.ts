export interface InFlight {
  /** Tracks the work until it settles, and settles with its result. */
  track<Result> (work: Promise<Result>): Promise<Result>
  /** Resolves when all work tracked so far has settled. */
  settled (): Promise<void>
}

/** Knows the work that has begun and not settled, so that a close can wait for it. */
export function createInFlight (): InFlight {
  const works = new Set<Promise<unknown>>()

  return {
    async track (work) {
      works.add(work)
      try {
        return await work
      } finally {
        works.delete(work)
      }
    },
    async settled () {
      await Promise.allSettled(works)
    }
  }
}
