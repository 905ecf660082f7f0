/**
 * Shares one run between callers with the same key, but only while it has not started: a caller
 * during a run waits for the next one. (A run under way may carry an answer from before the caller's
 * request, for instance from before a logout.)
 */
export function createNextBatch<Result> (run: (key: string) => Promise<Result>): (key: string) => Promise<Result> {
  const batches = new Map<string, { current: Promise<Result>, next: Promise<Result> | null }>()

  function start (key: string): Promise<Result> {
    const batch = { current: run(key), next: null }
    batches.set(key, batch)
    const settled = () => { if (batch.next === null) batches.delete(key) }
    batch.current.then(settled, settled)
    return batch.current
  }

  return function join (key) {
    const batch = batches.get(key)
    if (batch === undefined) return start(key)
    const startNext = () => start(key)
    batch.next ??= batch.current.then(startNext, startNext)
    return batch.next
  }
}
