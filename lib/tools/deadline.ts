export interface DeadlineSettings {
  timeoutMs: number
  expired: () => Error
  /** Called when work that missed its deadline has settled after all. */
  late?: () => void
}

/**
 * Settles as `work` does, or rejects with `expired()` after `timeoutMs`. The work itself goes on:
 * a statement that was sent may still commit, so nothing it holds is given back early.
 * A busy event loop is no slow peer: what has arrived by then is read first.
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

/** A timer that fires so much too late has waited for this process itself. */
const STALL_MS = 10
/** What an answer needs at least when the stall is over, and what was asked is only sent now. */
const GRACE_MS = 50
const MOST_EXTENSIONS = 3

/**
 * Calls back after `timeoutMs`, but not for the time that this process was too busy to send, or to read what has arrived:
 * after a stall it waits on for as long as that was, three times at most and never longer than `timeoutMs`. Returns how to cancel it.
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
