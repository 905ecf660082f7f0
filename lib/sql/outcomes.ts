import { withDeadline } from '../tools/deadline.js'
import { untilDone } from '../tools/until-done.js'
import type { OutcomeWatcher, RevocationStore, RevocationSubject } from '../ports.js'
import type { Now } from '../../types/options.js'
import { UNAVAILABLE } from '../errors.js'
import { isLost } from './errors.js'
import { DATE_AGAIN_MS } from '../tools/stale-window.js'

export interface Outcomes {
  /**
   * Settles as the call does, or rejects with `FST_TOKEN_AUTH_UNAVAILABLE` at the deadline. A call that misses it, or whose connection breaks, may
   * have ended tokens all the same: then the database is queried until that is known, and the watcher doubts the cache meanwhile.
   */
  follow<Result> (subject: RevocationSubject, call: () => Promise<Result>): Promise<Result>
  /** Reports to the watcher. The returned function stops it, and resolves when nothing is under way. */
  watch (watcher: OutcomeWatcher): () => Promise<void>
}

export interface OutcomesSettings {
  timeoutMs: number
  findEnded: RevocationStore['findEnded']
  monotonicNow: Now
}

interface Unknown { subject: RevocationSubject, startedAtMs: number, settleMs: number }

/**
 * A statement whose connection breaks may reach the database late: it may be on its way, without holding its locks yet. After this time it has
 * ended: the server's time limits are shorter.
 */
const SETTLE_MS = 10_000
const MOST = 1000

/** Finds out how calls ended whose answer is late or lost. The watcher is set before the first call. */
export function createOutcomes ({ timeoutMs, findEnded, monotonicNow }: OutcomesSettings): Outcomes {
  let watcher!: OutcomeWatcher
  const closing = new AbortController()
  const unknown = new Set<Promise<void>>()

  async function askUntilKnown ({ subject, startedAtMs, settleMs }: Unknown): Promise<void> {
    const sinceMs = monotonicNow()
    await untilDone(async () => {
      const askedAtMs = monotonicNow()
      const digests = await findEnded(subject, askedAtMs - startedAtMs).catch(() => null)
      if (digests === null) return false
      await watcher.ended(digests)
      return askedAtMs - sinceMs >= settleMs
    }, closing.signal)
  }

  // Before the answer: after it, a catch-up must find this revocation, and it looks back only so far from `stale_at`.
  async function dateAgain (subject: RevocationSubject, startedAtMs: number): Promise<void> {
    const tookMs = monotonicNow() - startedAtMs
    if (tookMs > DATE_AGAIN_MS) await findEnded(subject, tookMs)
  }

  function findOut (outcome: Unknown): void {
    if (unknown.size >= MOST) return watcher.overflowed()
    const end = watcher.doubt(outcome.subject)
    const asking = askUntilKnown(outcome).finally(() => { end(); unknown.delete(asking) })
    unknown.add(asking)
  }

  return {
    follow (subject, call) {
      const startedAtMs = monotonicNow()
      let hasCommitted = false
      let end: (() => void) | null = null
      const expired = () => {
        end = watcher.doubt(subject)
        // The connection may stay silent for hours. The inquiry goes over another one, and waits for the locks of a call under way.
        findOut({ subject, startedAtMs, settleMs: SETTLE_MS })
        return new UNAVAILABLE()
      }
      const work = call().then(async (result) => {
        hasCommitted = true
        await dateAgain(subject, startedAtMs)
        return result
      })
      const answer = withDeadline(work, { timeoutMs, expired })
      work.then(
        () => { if (end !== null) findOut({ subject, startedAtMs, settleMs: 0 }) },
        (error) => { if (hasCommitted || isLost(error.cause)) findOut({ subject, startedAtMs, settleMs: hasCommitted ? 0 : SETTLE_MS }) }
      ).finally(() => end?.())
      return answer
    },
    watch (given) {
      watcher = given
      return async () => {
        closing.abort()
        await Promise.all(unknown)
      }
    }
  }
}
