import type { AttemptRules } from './failure-counters.js'

/** The state of one key. */
export interface Counter {
  /** Attempts that have failed. */
  failures: number
  /** The ids of the attempts under way, the oldest first, with the time at which each counts as failed. */
  underWay: Map<string, number>
  untilMs: number
  /** The attempt that started the wait. */
  startedBy: string
  /** The account that the attempts belong to; `*` if several. */
  owner: string
  forgetAtMs: number
}

/**
 * An attempt that has not ended by then has failed: its server may have died. Far longer than a login or a password change
 * takes, with every wait at its maximum.
 */
export const ABANDONED_MS = 600_000
/** Beyond this number of attempts under way, the oldest count as failed: without a limit, strangers could fill the memory. */
export const MOST_UNDER_WAY = 128

const SEVERAL = '*'

export function createCounter (owner: string): Counter {
  return { failures: 0, underWay: new Map(), untilMs: 0, startedBy: '', owner, forgetAtMs: 0 }
}

/** Attempts that have failed, or are under way. */
export function countOf ({ failures, underWay }: Counter): number {
  return failures + underWay.size
}

/** Marks attempts whose time is over as failed. */
export function expire (counter: Counter, at: number): void {
  for (const [id, overMs] of counter.underWay) {
    if (overMs > at && counter.underWay.size <= MOST_UNDER_WAY) return
    fail(counter, id)
  }
}

/** Counts an attempt as under way, and starts the wait for the next one if there are too many. */
export function begin (counter: Counter, { free, delayMs, maxDelayMs, forgetMs }: AttemptRules, { at, id, owner }: { at: number, id: string, owner: string }): void {
  counter.underWay.set(id, at + ABANDONED_MS)
  expire(counter, at)
  const over = countOf(counter) - free
  const waitMs = over < 0 ? 0 : Math.min(maxDelayMs, delayMs * 2 ** over)
  if (waitMs > 0) Object.assign(counter, { untilMs: at + waitMs, startedBy: id })
  if (counter.owner !== owner) counter.owner = SEVERAL
  counter.forgetAtMs = at + Math.max(forgetMs, waitMs + 1000)
}

/** An attempt that is not under way, for instance because its time is over, changes nothing. */
export function fail (counter: Counter, id: string): void {
  if (counter.underWay.delete(id)) counter.failures++
}

/** Takes an attempt back, with the wait that it started. */
export function giveBack (counter: Counter, id: string): void {
  if (counter.underWay.delete(id) && counter.startedBy === id) counter.untilMs = 0
}

/** Takes a successful attempt back, and clears the failures. Attempts under way stay: they may fail. */
export function succeed (counter: Counter, id: string): void {
  counter.underWay.delete(id)
  Object.assign(counter, { failures: 0, untilMs: 0 })
}
