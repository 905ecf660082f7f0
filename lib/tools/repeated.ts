export interface Repeated {
  /** Does the work, and from then on again at the interval, or soon after a failure. Rejects if this time fails. */
  run (): Promise<void>
  /** Ends the repetition. Work under way goes on. */
  close (): void
}

export interface RepeatedSettings {
  work: () => Promise<unknown>
  intervalMs: number
  /** Delay after a failure. */
  retryMs: number
  /** Receives the failures of the repetitions. */
  onFailure: (error: Error) => void
}

/** Repeats work that must be done now and then while the process runs. It keeps no process alive. */
export function createRepeated ({ work, intervalMs, retryMs, onFailure }: RepeatedSettings): Repeated {
  let timer: NodeJS.Timeout | undefined
  let isClosed = false

  function runAfter (ms: number): void {
    clearTimeout(timer)
    if (!isClosed) timer = setTimeout(() => { run().catch(onFailure) }, ms).unref()
  }

  async function run (): Promise<void> {
    runAfter(retryMs)
    await work()
    runAfter(intervalMs)
  }

  return {
    run,
    close () {
      isClosed = true
      clearTimeout(timer)
    }
  }
}
