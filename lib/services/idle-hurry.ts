export interface IdleHurry {
  /** Whether this use must be written at once. The caller then writes it. */
  isDue (sessionId: string, idleAtMs: number | null, at: number): boolean
  /** The use was not written after all. */
  forget (sessionId: string): void
}

/** A write may have to wait for another, and be tried again: so much is left for it, whatever the interval. */
const LEAST_MS = 10_000

/**
 * Knows which sessions come so close to their idle limit that the interval's end would be too late for their use.
 * One that was written within an interval needs no hurry, however old the record that says how it stands: it is far from its limit.
 */
export function createIdleHurry ({ intervalMs, most }: { intervalMs: number, most: number }): IdleHurry {
  const closeMs = 2 * Math.max(intervalMs, LEAST_MS)
  /** When a session was hurried last, the oldest first. */
  const hurried = new Map<string, number>()

  // Also where the clock was set back.
  const isRecent = (since: number | undefined, at: number) => since !== undefined && since <= at && at - since < intervalMs

  function forgetOld (at: number): void {
    for (const [sessionId, since] of hurried) {
      if (hurried.size < most && isRecent(since, at)) return
      hurried.delete(sessionId)
    }
  }

  return {
    isDue (sessionId, idleAtMs, at) {
      if (idleAtMs === null || idleAtMs - at >= closeMs || isRecent(hurried.get(sessionId), at)) return false
      forgetOld(at)
      hurried.delete(sessionId)
      hurried.set(sessionId, at)
      return true
    },
    forget: (sessionId) => { hurried.delete(sessionId) }
  }
}
