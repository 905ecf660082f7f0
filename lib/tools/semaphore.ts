export interface Semaphore {
  /** Runs `task` when a slot is free. Rejects with `overloaded` if the queue is full or the wait is too long. */
  run<Result> (task: () => Promise<Result>): Promise<Result>
  /**
   * Announces a later call of `run`. It counts as waiting until the returned function is called, so that callers without a chance of a
   * place are refused before they begin. Throws `overloaded` as `run` rejects.
   */
  reserve (): () => void
  readonly active: number
  readonly waiting: number
}

export interface SemaphoreSettings {
  concurrency: number
  queue: number
  maxWaitMs: number
  /** Expected wait behind this number of tasks: a task that would wait too long is refused at once. */
  expectWaitMs?: (waiting: number) => number
  /** `waitMs` is the expected wait. */
  overloaded: (waitMs: number) => Error
}

interface Waiter { enter: () => void, timer: NodeJS.Timeout }

/** Limits how many tasks run, how many wait, and for how long. First come, first served. */
export function createSemaphore ({ concurrency, queue, maxWaitMs, expectWaitMs = () => 0, overloaded }: SemaphoreSettings): Semaphore {
  const waiters = new Set<Waiter>()
  let active = 0
  let reserved = 0

  const counted = () => active + waiters.size

  function refuseBehind (others: number): void {
    const waiting = others - concurrency
    if (waiting < 0) return
    const waitMs = expectWaitMs(waiting)
    if (waiting >= queue || waitMs > maxWaitMs) throw overloaded(waitMs)
  }

  function wait (): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = {
        enter: resolve,
        timer: setTimeout(() => { waiters.delete(waiter); reject(overloaded(expectWaitMs(waiters.size))) }, maxWaitMs)
      }
      waiters.add(waiter)
    })
  }

  // The place is handed over, not freed, so that a newcomer cannot overtake a waiting task.
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
      refuseBehind(counted())
      if (active < concurrency) active++
      else await wait()
      try {
        return await task()
      } finally {
        leave()
      }
    },
    reserve () {
      refuseBehind(Math.max(counted(), reserved))
      reserved++
      return () => { reserved-- }
    },
    get active () { return active },
    get waiting () { return waiters.size }
  }
}
