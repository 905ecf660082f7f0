import { createHash, randomUUID } from 'node:crypto'
import type { AttemptRules, AttemptStore, Now } from '../../types/ports.js'

interface Counter {
  failures: number
  untilMs: number
  /** The attempt that began the wait. */
  by: string
  /** Whose the attempts are. */
  of: string
  forgetAtMs: number
}

/** Counters that keys share once there is no room for more of their own. */
const SHARED_COUNTERS = 1024

const SEVERAL = '*'

const NONE: Counter = { failures: 0, untilMs: 0, by: '', of: '', forgetAtMs: 0 }

/**
 * Counters and claims of this process, bounded. Strangers never push a counter out (CVE-2024-21662 was that): over `max`
 * keys, new ones share a fixed number of counters by their hash until others are forgotten.
 *
 * @param settings.now a monotonic clock, in milliseconds
 * @param settings.max counters of their own, and claims; 50 000 by default
 */
export function createMemoryAttempts ({ now, max = 50_000 }: { now: Now, max?: number }): AttemptStore {
  const own = new Map<string, Counter>()
  const shared = new Map<string, Counter>()
  const claims = new Map<string, number>()

  // Every attempt moves its counter to the end, so the first are the ones that are forgotten first.
  function forget (): void {
    for (const [key, { forgetAtMs }] of own) {
      if (forgetAtMs > now()) return
      own.delete(key)
    }
  }

  /** The counter of a key, the map that it is in, and its name there. */
  function find (key: string) {
    forget()
    const isOwn = own.has(key) || own.size < max
    const [counters, name] = isOwn ? [own, key] as const : [shared, sharedName(key)] as const
    const counter = counters.get(name)
    return { isOwn, counters, name, counter: counter === undefined || counter.forgetAtMs <= now() ? null : counter }
  }

  function lower (key: string, change: (counter: Counter) => void): void {
    const { counters, name, counter } = find(key)
    if (counter === null) return
    counter.failures--
    change(counter)
    if (counter.failures === 0) counters.delete(name)
  }

  async function giveBack (key: string, id: string): Promise<void> {
    lower(key, (counter) => { if (counter.by === id) counter.untilMs = 0 })
  }

  return {
    async take (key, rules, of = '') {
      const at = now()
      const id = randomUUID()
      const { counters, name, counter } = find(key)
      const { failures, untilMs } = counter ?? NONE
      // A wait longer than the longest is by other rules.
      const waitMs = Math.min(untilMs - at, rules.maxDelayMs)
      if (counter !== null) counter.untilMs = at + waitMs
      if (waitMs > 0) return { isAllowed: false, failures, waitMs, id }
      counters.delete(name)
      counters.set(name, counted(counter ?? { ...NONE, of }, rules, { at, id, of }))
      return { isAllowed: true, failures, waitMs: 0, id }
    },
    giveBack,
    async reset (key, id = null, of = '') {
      const { isOwn, counter } = find(key)
      // Of a counter that keys share a success takes back its own attempt only.
      if (isOwn && (counter === null || counter.of === of)) own.delete(key)
      else if (id !== null) await giveBack(key, id)
    },
    async claim (key, ttlMs) {
      const at = now()
      if ((claims.get(key) ?? -Infinity) > at) return false
      claims.delete(key)
      const [oldest] = claims.keys()
      if (claims.size >= max) claims.delete(oldest!)
      claims.set(key, at + ttlMs)
      return true
    }
  }
}

function counted (counter: Counter, { free, delayMs, maxDelayMs, forgetMs }: AttemptRules, { at, id, of }: { at: number, id: string, of: string }): Counter {
  const { failures, untilMs, by } = counter
  const waitMs = failures + 1 < free ? 0 : Math.min(maxDelayMs, delayMs * 2 ** (failures + 1 - free))
  const wait = waitMs === 0 ? { untilMs, by } : { untilMs: at + waitMs, by: id }
  return { failures: failures + 1, ...wait, of: counter.of === of ? of : SEVERAL, forgetAtMs: at + Math.max(forgetMs, waitMs + 1000) }
}

function sharedName (key: string): string {
  return String(createHash('sha256').update(key).digest().readUInt32BE() % SHARED_COUNTERS)
}
