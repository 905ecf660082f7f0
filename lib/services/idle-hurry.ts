export interface IdleHurry {
  /** Whether this use must be written at once. The caller then writes it. */
  claimUrgentWrite (sessionId: string, idleAtMs: number | null, at: number): boolean
  /** The use was not written after all. */
  forget (sessionId: string): void
}

/** Minimum time left for a write, with any interval: it may wait for another write and be retried. */
const LEAST_MS = 10_000

/**
 * Finds sessions so close to their idle limit that writing their use at the end of the interval would be too late.
 * A session that was written within an interval is far from its limit, however old its cached record is.
 */
export function createIdleHurry ({ intervalMs, most }: { intervalMs: number, most: number }): IdleHurry {
  const closeMs = 2 * Math.max(intervalMs, LEAST_MS)
  /** When the use of a session was last written at once, the oldest first. */
  const hurried = new Map<string, number>()

  // Also if the clock was set back.
  const isRecent = (since: number | undefined, at: number) => since !== undefined && since <= at && at - since < intervalMs

  function forgetOld (at: number): void {
    for (const [sessionId, since] of hurried) {
      if (hurried.size < most && isRecent(since, at)) return
      hurried.delete(sessionId)
    }
  }

  return {
    claimUrgentWrite (sessionId, idleAtMs, at) {
      if (idleAtMs === null || idleAtMs - at >= closeMs || isRecent(hurried.get(sessionId), at)) return false
      forgetOld(at)
      hurried.delete(sessionId)
      hurried.set(sessionId, at)
      return true
    },
    forget: (sessionId) => { hurried.delete(sessionId) }
  }
}
