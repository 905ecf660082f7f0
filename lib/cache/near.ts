import type { Seal } from '../crypto/seal.js'
import type { MemberStore } from '../ports.js'
import type { Channel } from '../tools/channel.js'
import type { Digest } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import type { DatabaseClock } from '../tools/database-clock.js'
import { TIMERS } from '../tools/timing.js'
import type { Timing } from '../tools/timing.js'
import type { ReportFailure } from './availability.js'
import { joinProcess } from './in-process.js'
import type { Joined } from './in-process.js'
import { createLease, ENDLESS } from './lease.js'
import { createMembership, NO_MEMBERSHIP } from './membership.js'
import { createNearCache, ENDED } from './near-cache.js'
import type { NearCacheSettings } from './near-cache.js'
import { createNearLookup, createRecordLookup } from './near-lookup.js'
import type { RecordLookup } from './near-lookup.js'
import type { TokenLookup } from './lookup.js'
import { openPeers } from './peers.js'

/** What this server has in memory, and the way to what the others have. */
export interface Near {
  /** Puts the memory in front of a lookup. */
  inFrontOf (store: TokenLookup): RecordLookup
  /** Ends these tokens in this process. */
  end (digests: readonly Digest[]): void
  drop (digests: readonly Digest[]): void
  clear (): void
  hasEnded (digest: Digest): boolean
  /** Resolves when no server answers from what it knew before: see `Withdrawal`. */
  withdraw (digests: readonly Digest[]): Promise<void>
  /** Whether this server holds the lease, and has read nothing that is out of date since it registered. */
  isLeased (): boolean
  /** Makes the connection that receives messages anew. */
  renew (): void
  start (): void
  close (): Promise<void>
}

export interface NearSettings {
  server: string
  /** `null`: this server has no lease, and its memory is only for itself. */
  leaseMs: number | null
  /** Entries in memory; `null`: nothing is kept. */
  max: number | null
  ttlMs: number
  channel: Channel
  seal: Seal
  members: MemberStore
  clock: DatabaseClock
  now: Now
  monotonicNow: Now
  /** Whether what is read now is up to date. */
  isTrusted: () => boolean
  /** Makes sure that nothing which was revoked before this call is read. */
  catchUp: () => Promise<void>
  onFailure: ReportFailure
}

/** What is different where several servers run in one process, and time passes in steps. */
export interface NearParts {
  createMemory (settings: NearCacheSettings): Joined
  timing: Timing
}

const PARTS: NearParts = { createMemory: (settings) => joinProcess(createNearCache(settings)), timing: TIMERS }

/** Opens the memory of this server. No I/O until `start`. */
export function openNear (settings: NearSettings, { createMemory, timing } = PARTS): Near {
  const { leaseMs, max, ttlMs, members, clock, isTrusted, catchUp, onFailure } = settings
  const lease = leaseMs === null ? ENDLESS : createLease()
  const memory = createMemory({ ...settings, max: max ?? 1, lease, databaseClock: clock, mayFill: () => isTrusted() && membership.mayFill() })
  const peers = openPeers({
    ...settings,
    memberId: () => membership.id,
    drop: memory.drop,
    onUp: () => membership.connected(),
    onDown: () => membership.lost(),
    timing
  })
  const membership = leaseMs === null
    ? NO_MEMBERSHIP
    : createMembership({
      members,
      lease,
      leaseMs,
      clock,
      newId: peers.newMemberId,
      checkChannel: () => peers.checkChannel(leaseMs),
      prepare: catchUp,
      forget: memory.clear,
      onFailure: (error) => onFailure('near', error),
      timing
    })

  return {
    inFrontOf: (store) => max === null ? createRecordLookup(store) : createNearLookup({ near: memory, store }),
    end (digests) { memory.end(digests, ttlMs) },
    drop: memory.drop,
    clear: memory.clear,
    hasEnded: (digest) => memory.get(digest) === ENDED,
    withdraw: peers.withdraw,
    isLeased: membership.mayFill,
    renew: peers.renew,
    start () { if (leaseMs !== null) peers.open() },
    async close () {
      await membership.close()
      memory.leave()
      await peers.close()
    }
  }
}
