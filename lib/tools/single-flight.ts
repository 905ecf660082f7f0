/** Runs one call at a time: a call during another one gets its result. */
export function singleFlight<Result> (run: () => Promise<Result>): () => Promise<Result> {
  let running: Promise<Result> | null = null
  return () => {
    running ??= run().finally(() => { running = null })
    return running
  }
}
