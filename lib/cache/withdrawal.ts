import { randomBytes } from 'node:crypto'
import type { Member, MemberStore } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import { createNextBatch } from '../tools/next-batch.js'
import type { Timing } from '../tools/timing.js'

/** Takes tokens out of the memory of every server. */
export interface Withdrawal {
  /**
   * Call it when SQL, and then the cache, have acknowledged that the tokens ended or changed. Resolves when no server answers from what it knew
   * before. Rejects if that is not known.
   */
  withdraw (digests: readonly Digest[]): Promise<void>
  /** A member has dropped the tokens of a notice. */
  acknowledged (member: string, notice: string): void
  close (): void
}

export interface WithdrawalSettings {
  members: Pick<MemberStore, 'list' | 'expel' | 'remove'>
  /** Whether it is this server, which has dropped the tokens already. */
  isOwn: (member: string) => boolean
  /** Sends the notice to all servers. */
  publish: (notice: Notice) => Promise<void>
  /** Digests in a notice. */
  perNotice: number
  monotonicNow: Now
  timing: Pick<Timing, 'pause' | 'withDeadline'>
}

export interface Notice { id: string, digests: Digest[] }

/** How long a server may take to acknowledge. It may be busy, or be collecting garbage. */
const ACKNOWLEDGE_MS = 500
/** How much faster this server's monotonic clock may run than that of a member (NTP changes the rate by at most 0.05 %). */
const CLOCK_RATE = 1.02

/** Notices without an answer. A member that never answers is expelled, so there are few. */
interface Waiting { missing: Set<string>, done: () => void }

/**
 * Invalidations that are acknowledged, after Yin, Alvisi, Dahlin and Lin, "Volume Leases for Consistency in Large-Scale Systems" (1999). A member that
 * does not acknowledge in time is expelled: it may not answer from its memory when its lease has run out, and that is waited for. The order of the
 * steps is the protocol: see docs/protocol.md.
 */
export function createWithdrawal ({ members, isOwn, publish, perNotice, monotonicNow, timing }: WithdrawalSettings): Withdrawal {
  const waiting = new Map<string, Waiting>()
  const closing = new AbortController()
  let collected = new Set<Digest>()
  // A batch takes what has been collected when it begins: the cache has acknowledged all of it.
  const nextBatch = createNextBatch(run)

  async function run (): Promise<void> {
    const digests = [...collected]
    collected = new Set()
    const others = (await members.list()).filter(({ id }) => !isOwn(id))
    const listedAt = monotonicNow()
    if (others.length === 0) return
    const missing = await missingOf(others.map(({ id }) => id), digests)
    const silent = others.filter(({ id }) => missing.has(id))
    if (silent.length > 0) await expel(silent, listedAt)
  }

  async function missingOf (ids: string[], digests: Digest[]): Promise<Set<string>> {
    const notices = Array.from({ length: Math.ceil(digests.length / perNotice) }, (_, index): Notice => ({
      id: randomBytes(9).toString('base64url'),
      digests: digests.slice(index * perNotice, (index + 1) * perNotice)
    }))
    const missing = await Promise.all(notices.map((notice) => notify(notice, ids)))
    return new Set(missing.flatMap((ids) => [...ids]))
  }

  async function notify (notice: Notice, ids: string[]): Promise<Set<string>> {
    const missing = new Set(ids)
    const all = new Promise<void>((resolve) => waiting.set(notice.id, { missing, done: resolve }))
    try {
      await publish(notice)
      await timing.withDeadline(all, { timeoutMs: ACKNOWLEDGE_MS, expired: () => new Error('late') }).catch(() => {})
      return missing
    } finally {
      waiting.delete(notice.id)
    }
  }

  // Those that another server has expelled may still be in their lease; it is known since the list.
  async function expel (silent: Member[], listedAt: number): Promise<void> {
    const ids = silent.map(({ id }) => id)
    const stillMembers = silent.filter(({ isExpelled }) => !isExpelled).map(({ id }) => id)
    if (stillMembers.length > 0) await members.expel(stillMembers)
    const from = stillMembers.length > 0 ? monotonicNow() : listedAt
    const endsAt = from + CLOCK_RATE * Math.max(...silent.map(({ leaseMs }) => leaseMs))
    // A timer may fire up to a millisecond early.
    while (monotonicNow() < endsAt) await timing.pause(endsAt - monotonicNow() + 1, { signal: closing.signal })
    // Before the next batch reads the list.
    await members.remove(ids).catch(() => {})
  }

  return {
    withdraw (digests) {
      for (const digest of digests) collected.add(digest)
      return nextBatch('')
    },
    acknowledged (member, notice) {
      const waited = waiting.get(notice)
      if (waited === undefined) return
      waited.missing.delete(member)
      if (waited.missing.size === 0) waited.done()
    },
    close () { closing.abort() }
  }
}
