import type { Now } from '../../types/options.js'

/** When a statement was sent, by both clocks of this process. */
export interface Moment { wallMs: number, monotonicMs: number }

export interface DatabaseClock {
  /** PostgreSQL's time in milliseconds since 1970: never slow, and ahead by at most the duration of an answer. */
  now (): number
  /** Call it before a statement that returns PostgreSQL's time ... */
  moment (): Moment
  /** Milliseconds since then, by the clock that shows more. */
  since (sentAt: Moment): number
  /** ... and this with the time that it returned. */
  sync (databaseMs: number, sentAt: Moment): void
}

/**
 * Follows the clock of PostgreSQL, which alone decides when a token ends. The returned time is at least as old as the answer, so all the time since
 * the statement was sent is added: by the clock that shows more, because the monotonic one stops while a virtual machine
 * is suspended, and the other may be set back. Before the first answer, the server's own clock is used.
 */
export function createDatabaseClock ({ now, monotonicNow }: { now: Now, monotonicNow: Now }): DatabaseClock {
  const since = ({ wallMs, monotonicMs }: Moment) => Math.max(now() - wallMs, monotonicNow() - monotonicMs)
  let known: { databaseMs: number, sentAt: Moment } | null = null

  return {
    now () {
      return known === null ? now() : known.databaseMs + since(known.sentAt)
    },
    moment: () => ({ wallMs: now(), monotonicMs: monotonicNow() }),
    since,
    sync (databaseMs, sentAt) { known = { databaseMs, sentAt } }
  }
}
