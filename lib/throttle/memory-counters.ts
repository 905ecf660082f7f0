import { createHash, randomUUID } from 'node:crypto'
import type { FailureCounters } from './failure-counters.js'
import type { Now } from '../../types/options.js'
import { begin, countOf, createCounter, expire, fail, giveBack, succeed } from './counter.js'
import type { Counter } from './counter.js'

/** Number of counters that keys share once there is no room for separate ones. */
const SHARED_COUNTERS = 1024

/**
 * Counters and claims of this process, bounded. Strangers cannot displace a counter (as in CVE-2024-21662): over `max`
 * keys, new ones share a fixed number of counters by their hash until others are forgotten.
 *
 * @param settings.now a monotonic clock, in milliseconds
 * @param settings.max counters of their own, and claims; 50 000 by default
 */
export function createMemoryCounters ({ now, max = 50_000 }: { now: Now, max?: number }): FailureCounters {
  const own = new Map<string, Counter>()
  const shared = new Map<string, Counter>()
  const claims = new Map<string, number>()

  // Every attempt moves its counter to the end, so the first ones expire first.
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
    if (counter === undefined || counter.forgetAtMs <= now()) return { isOwn, counters, name, counter: null }
    expire(counter, now())
    return { isOwn, counters, name, counter }
  }

  function change (key: string, settle: (counter: Counter, isOwn: boolean) => void): void {
    const { isOwn, counters, name, counter } = find(key)
    if (counter === null) return
    settle(counter, isOwn)
    if (countOf(counter) === 0) counters.delete(name)
  }

  return {
    async take (key, rules, owner = '') {
      const at = now()
      const id = randomUUID()
      const { counters, name, counter: found } = find(key)
      const counter = found ?? createCounter(owner)
      const failures = countOf(counter)
      // A wait longer than the maximum comes from other rules.
      counter.untilMs = Math.min(counter.untilMs, at + rules.maxDelayMs)
      if (counter.untilMs > at) return { isAllowed: false, failures, waitMs: counter.untilMs - at, id }
      begin(counter, rules, { at, id, owner })
      counters.delete(name)
      counters.set(name, counter)
      return { isAllowed: true, failures, waitMs: 0, id }
    },
    async giveBack (key, id) {
      change(key, (counter) => giveBack(counter, id))
    },
    async fail (key, id) {
      change(key, (counter) => fail(counter, id))
    },
    // In a shared counter a success takes back only its own attempt.
    async succeed (key, id, owner = '') {
      const settle = (counter: Counter, isOwn: boolean) => isOwn && counter.owner === owner ? succeed : giveBack
      change(key, (counter, isOwn) => settle(counter, isOwn)(counter, id ?? ''))
    },
    async useOnce (key, ttlMs) {
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

function sharedName (key: string): string {
  return String(createHash('sha256').update(key).digest().readUInt32BE() % SHARED_COUNTERS)
}
