export interface DeadlineSettings {
  timeoutMs: number
  expired: () => Error
  /** Called when work that missed its deadline has settled after all. */
  late?: () => void
}

/**
 * Settles as `work` does, or rejects with `expired()` after `timeoutMs`. The work itself goes on:
 * a statement that was sent may still commit, so nothing it holds is given back early.
 */
export function withDeadline<Result> (work: Promise<Result>, { timeoutMs, expired, late }: DeadlineSettings): Promise<Result> {
  return new Promise((resolve, reject) => {
    let isLate = false
    const timer = setTimeout(() => { isLate = true; reject(expired()) }, timeoutMs)
    const settled = () => {
      clearTimeout(timer)
      if (isLate) late?.()
    }
    work.then(resolve, reject).finally(settled)
  })
}
