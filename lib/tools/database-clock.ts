import type { Now } from '../../types/options.js'

/** When a question was sent, by both clocks of this process. */
export interface Asked { wallMs: number, monotonicMs: number }

export interface DatabaseClock {
  /** PostgreSQL's time in milliseconds since 1970: never behind it, ahead of it by as long as an answer took. */
  now (): number
  /** To be called before a statement that tells PostgreSQL's time ... */
  ask (): Asked
  /** Milliseconds since then, by the clock that measures more. */
  since (asked: Asked): number
  /** ... and then with what it told. */
  learn (toldMs: number, asked: Asked): void
}

/**
 * Follows the clock of PostgreSQL, which alone decides when a token ends. What it told is at least as old as the answer, so all the time since the
 * question was sent is added to it: by the clock that measures more, since the monotonic one stands still while a virtual machine
 * is suspended, and the other may be set back. Until it has told anything, this server's own clock stands in.
 */
export function createDatabaseClock ({ now, monotonicNow }: { now: Now, monotonicNow: Now }): DatabaseClock {
  const since = ({ wallMs, monotonicMs }: Asked) => Math.max(now() - wallMs, monotonicNow() - monotonicMs)
  let known: { toldMs: number, asked: Asked } | null = null

  return {
    now () {
      return known === null ? now() : known.toldMs + since(known.asked)
    },
    ask: () => ({ wallMs: now(), monotonicMs: monotonicNow() }),
    since,
    learn (toldMs, asked) { known = { toldMs, asked } }
  }
}
