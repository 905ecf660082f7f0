import type { MemberStore } from '../ports.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import type { Repeated } from '../tools/repeated.js'
import type { Timing } from '../tools/timing.js'
import { end, extend, isHeld } from './lease.js'
import type { Lease } from './lease.js'

/** This server as one of those that may answer from their memory. */
export interface Membership {
  /** The id of the registration; `null` while this server is no member. */
  readonly id: string | null
  /** Whether the result of a read that starts now may be kept. */
  mayFill (): boolean
  /** Messages arrive from now on: registers. */
  connected (): void
  /** Messages are lost from now on: ends the membership, until the next call of `connected`. */
  lost (): void
  close (): Promise<void>
}

export interface MembershipSettings {
  members: MemberStore
  lease: Lease
  leaseMs: number
  clock: Pick<DatabaseClock, 'moment'>
  newId: () => string
  /** Rejects if messages of this server do not reach it. */
  checkChannel: () => Promise<void>
  /** Makes sure that nothing which was revoked before this call is read from the cache. */
  prepare: () => Promise<void>
  /** Forgets what is in memory. */
  forget: () => void
  onFailure: (error: Error) => void
  timing: Pick<Timing, 'createRepeated'>
}

/** Of a server whose memory no other server has to wait for. */
export const NO_MEMBERSHIP: Membership = { id: null, mayFill: () => true, connected () {}, lost () {}, close: async () => {} }

/** Renewals in the life of a lease: two may fail. */
const RENEWALS = 3

/**
 * Read leases, after Gray and Cheriton, "Leases: An Efficient Fault-Tolerant Mechanism for Distributed File Cache Consistency" (1989): a server
 * answers from its memory only while it knows that every revocation waits for it. The rules are in docs/protocol.md.
 */
export function createMembership ({ members, lease, leaseMs, clock, newId, checkChannel, prepare, forget, onFailure, timing }: MembershipSettings): Membership {
  let id: string | null = null
  let isConnected = false
  let isPrepared = false
  const beats: Repeated = timing.createRepeated({ work, intervalMs: leaseMs / RENEWALS, retryMs: leaseMs / RENEWALS, onFailure })

  async function work (): Promise<void> {
    if (!isConnected) return
    await (id === null ? register() : Promise.all([renew(id), checkChannel()]))
  }

  // The id is new each time: what happens to an earlier registration cannot happen to this one.
  async function register (): Promise<void> {
    const mine = newId()
    forget()
    id = mine
    try {
      await checkChannel()
      await members.join(mine, leaseMs)
      await prepare()
    } catch (error) {
      abandon(mine)
      throw error
    }
    if (id !== mine) return abandon(mine)
    isPrepared = true
    await renew(mine)
  }

  // The row may have been written after a loss of the connection had removed it.
  function abandon (mine: string): void {
    if (id === mine) leave()
    else members.remove([mine]).catch(() => {})
  }

  // The lease counts from before the question: while the answer was on its way, a revocation may have expelled this server.
  async function renew (mine: string): Promise<void> {
    const sentAt = clock.moment()
    const isMember = await members.isMember(mine)
    if (id !== mine) return
    if (isMember) extend(lease, sentAt, leaseMs)
    else if (isPrepared) leave()
  }

  function leave (): void {
    end(lease)
    forget()
    isPrepared = false
    if (id !== null) members.remove([id]).catch(() => {})
    id = null
  }

  return {
    get id () { return id },
    mayFill: () => isPrepared && isHeld(lease, clock.moment()),
    connected () {
      isConnected = true
      beats.run().catch(onFailure)
    },
    lost () {
      isConnected = false
      leave()
    },
    async close () {
      beats.close()
      isConnected = false
      const ids = id === null ? [] : [id]
      leave()
      await members.remove(ids).catch(() => {})
    }
  }
}
