/** Calls of `run` one at a time: who calls while one is under way gets its result. */
export function singleFlight<Result> (run: () => Promise<Result>): () => Promise<Result> {
  let running: Promise<Result> | null = null
  return () => {
    running ??= run().finally(() => { running = null })
    return running
  }
}
