export interface Semaphore {
  /** Runs `task` when a place is free. Rejects with `overloaded()` where the queue is full or the wait too long. */
  run<Result> (task: () => Promise<Result>): Promise<Result>
  readonly active: number
  readonly waiting: number
}

export interface SemaphoreSettings {
  concurrency: number
  queue: number
  maxWaitMs: number
  overloaded: () => Error
}

interface Waiter { enter: () => void, timer: NodeJS.Timeout }

/** Bounds how many tasks run, how many wait, and for how long. First come, first served. */
export function createSemaphore ({ concurrency, queue, maxWaitMs, overloaded }: SemaphoreSettings): Semaphore {
  const waiters = new Set<Waiter>()
  let active = 0

  function wait (): Promise<void> {
    if (waiters.size >= queue) return Promise.reject(overloaded())
    return new Promise((resolve, reject) => {
      const waiter = {
        enter: resolve,
        timer: setTimeout(() => { waiters.delete(waiter); reject(overloaded()) }, maxWaitMs)
      }
      waiters.add(waiter)
    })
  }

  // The place is handed over, not freed, so that a newcomer cannot overtake who waits.
  function leave (): void {
    const [next] = waiters
    if (next === undefined) {
      active--
      return
    }
    waiters.delete(next)
    clearTimeout(next.timer)
    next.enter()
  }

  return {
    async run (task) {
      if (active < concurrency) active++
      else await wait()
      try {
        return await task()
      } finally {
        leave()
      }
    },
    get active () { return active },
    get waiting () { return waiters.size }
  }
}
