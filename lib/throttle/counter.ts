import type { AttemptRules } from '../ports.js'

/** What is counted under one key. */
export interface Counter {
  /** Attempts that have failed. */
  failures: number
  /** The ids of the attempts under way, the oldest first, with the instant at which each counts as failed. */
  underWay: Map<string, number>
  untilMs: number
  /** The attempt that began the wait. */
  startedBy: string
  /** Whose the attempts are. */
  owner: string
  forgetAtMs: number
}

/**
 * An attempt that is not over by then has failed: its server may have died. Far above what a login or a change of password
 * takes, with every wait at its longest.
 */
export const LEASE_MS = 600_000
/** More attempts under way than that count as failed, the oldest first: where nothing is limited, strangers could fill the memory. */
export const MOST_UNDER_WAY = 128

const SEVERAL = '*'

export function createCounter (owner: string): Counter {
  return { failures: 0, underWay: new Map(), untilMs: 0, startedBy: '', owner, forgetAtMs: 0 }
}

/** Attempts that have failed, or are under way. */
export function countOf ({ failures, underWay }: Counter): number {
  return failures + underWay.size
}

/** Takes the attempts whose time is over for failed. */
export function expire (counter: Counter, at: number): void {
  for (const [id, overMs] of counter.underWay) {
    if (overMs > at && counter.underWay.size <= MOST_UNDER_WAY) return
    fail(counter, id)
  }
}

/** Counts an attempt as under way, and begins the wait for the next one where there are too many. */
export function begin (counter: Counter, { free, delayMs, maxDelayMs, forgetMs }: AttemptRules, { at, id, owner }: { at: number, id: string, owner: string }): void {
  counter.underWay.set(id, at + LEASE_MS)
  expire(counter, at)
  const over = countOf(counter) - free
  const waitMs = over < 0 ? 0 : Math.min(maxDelayMs, delayMs * 2 ** over)
  if (waitMs > 0) Object.assign(counter, { untilMs: at + waitMs, startedBy: id })
  if (counter.owner !== owner) counter.owner = SEVERAL
  counter.forgetAtMs = at + Math.max(forgetMs, waitMs + 1000)
}

/** What is not under way, such as an attempt whose time was over, changes nothing. */
export function fail (counter: Counter, id: string): void {
  if (counter.underWay.delete(id)) counter.failures++
}

/** Takes an attempt back, and the wait that it began. */
export function giveBack (counter: Counter, id: string): void {
  if (counter.underWay.delete(id) && counter.startedBy === id) counter.untilMs = 0
}

/** Takes a right attempt back, and forgets what has failed. What is under way stays: it may yet fail. */
export function succeed (counter: Counter, id: string): void {
  counter.underWay.delete(id)
  Object.assign(counter, { failures: 0, untilMs: 0 })
}
