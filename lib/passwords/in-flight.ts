export interface InFlight {
  /** Counts the work until it settles, and settles as it does. */
  track<Result> (work: Promise<Result>): Promise<Result>
  /** Resolves when all work counted so far has settled. */
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
