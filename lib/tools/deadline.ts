export interface DeadlineSettings {
  timeoutMs: number
  expired: () => Error
  /** Called when work that missed its deadline has settled after all. */
  late?: () => void
}

/**
 * Settles like `work`, or rejects with `expired()` after `timeoutMs`. The work itself goes on:
 * a statement that was sent may still commit, so nothing that it holds is released early.
 * A busy event loop is not a slow peer: data that has already arrived is read first.
 */
export function withDeadline<Result> (work: Promise<Result>, { timeoutMs, expired, late }: DeadlineSettings): Promise<Result> {
  return new Promise((resolve, reject) => {
    let isLate = false
    const cancel = stallTolerantTimeout(timeoutMs, () => { isLate = true; reject(expired()) })
    const settled = () => {
      cancel()
      if (isLate) late?.()
    }
    work.then(resolve, reject).finally(settled)
  })
}

/** A timer that fires later than this has waited for the process itself. */
const STALL_MS = 10
/** Minimum time for an answer after a stall, because the request is sent only then. */
const GRACE_MS = 50
const MOST_EXTENSIONS = 3

/**
 * Calls back after `timeoutMs`, not counting time in which the process was too busy to send or to read:
 * after a stall it waits for the length of the stall again, at most three times and never longer than `timeoutMs`. Returns a cancel function.
 */
export function stallTolerantTimeout (timeoutMs: number, callback: () => void): () => void {
  let timer: NodeJS.Timeout
  let turn: NodeJS.Immediate | undefined
  function wait (ms: number, extensions: number): void {
    const due = performance.now() + ms
    timer = setTimeout(() => {
      const lateMs = performance.now() - due
      if (extensions > 0 && lateMs > STALL_MS) wait(Math.min(Math.max(lateMs, GRACE_MS), timeoutMs), extensions - 1)
      else turn = setImmediate(callback)
    }, ms)
  }
  wait(timeoutMs, MOST_EXTENSIONS)
  return () => {
    clearTimeout(timer)
    clearImmediate(turn)
  }
}
