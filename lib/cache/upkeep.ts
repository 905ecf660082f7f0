import type { RevocationStore, SessionStore, TokenStore } from '../ports.js'
import type { Digest, TokenCache } from '../../types/cache.js'
import type { Now } from '../../types/options.js'
import type { CacheAvailability } from './availability.js'
import { createCatchUp } from './catch-up.js'
import { createRetriedWrites } from './retried-writes.js'
import { createDoubts } from './doubts.js'
import type { Doubts } from './doubts.js'
import { createOutcomes } from '../sql/outcomes.js'
import type { Outcomes } from '../sql/outcomes.js'
import { staleWindowMs } from '../sql/stale.js'

/** What keeps a cache from contradicting the database. */
export interface Upkeep {
  doubts: Doubts
  /** Resolves to whether the cache has acknowledged all tombstones; the rest is written in the background. */
  writeTombstones (digests: readonly Digest[]): Promise<boolean>
  /** The same for entries that are to be forgotten. */
  dropEntries (digests: readonly Digest[]): Promise<boolean>
  /** The same ports, whose calls are followed until it is known what they have ended. */
  followed (ports: { sessions: SessionStore, revocations: RevocationStore }): { sessions: SessionStore, revocations: RevocationStore }
  /** Starts to follow the cache's connection. */
  start (): void
  /** Resolves when the cache is trusted for the first time. */
  readonly ready: Promise<void>
  close (): Promise<void>
}

export interface UpkeepSettings {
  cache: TokenCache
  cacheTtlMs: number
  gate: CacheAvailability
  listStale: TokenStore['listStale']
  assertPrimary: () => Promise<void>
  findEnded: RevocationStore['findEnded']
  /** The deadline of a call that ends tokens. */
  timeoutMs: number
  monotonicNow: Now
}

export function createUpkeep ({ cache, cacheTtlMs, gate, listStale, assertPrimary, findEnded, timeoutMs, monotonicNow }: UpkeepSettings): Upkeep {
  const windowMs = staleWindowMs(cacheTtlMs)
  const doubts = createDoubts()
  const overflowed = () => catchUp.begin()
  const common = { gate, doubts, overflowed }
  const tombstones = createRetriedWrites({ operation: 'tombstone', isTerminal: true, send: (digests) => cache.tombstone(digests, windowMs), ...common })
  // A dropped entry is filled again by the next read.
  const drops = createRetriedWrites({ operation: 'drop', isTerminal: false, send: cache.drop, ...common })
  const catchUp = createCatchUp({ cache, gate, listStale, assertPrimary, windowMs, onConnection: tombstones.forget })
  const outcomes = createOutcomes({ timeoutMs, findEnded, writeTombstones: tombstones.write, doubts, overflowed, monotonicNow })

  return {
    doubts,
    writeTombstones: tombstones.write,
    dropEntries: drops.write,
    followed: ({ sessions, revocations }) => ({ sessions: followSessions(sessions, outcomes), revocations: followRevocations(revocations, outcomes) }),
    start: catchUp.start,
    ready: catchUp.ready,
    async close () {
      await Promise.all([outcomes.close(), catchUp.close(), tombstones.close(), drops.close()])
    }
  }
}

function followSessions (sessions: SessionStore, { follow }: Outcomes): SessionStore {
  return {
    login: (userId, ...rest) => follow({ userId }, () => sessions.login(userId, ...rest)),
    issue: (userId, token) => follow({ userId }, () => sessions.issue(userId, token)),
    changePassword: (change) => follow({ userId: change.userId }, () => sessions.changePassword(change))
  }
}

function followRevocations (revocations: RevocationStore, { follow }: Outcomes): RevocationStore {
  return {
    ...revocations,
    token: (digest, reason) => follow({ digest }, () => revocations.token(digest, reason)),
    session: (userId, ...rest) => follow({ userId }, () => revocations.session(userId, ...rest)),
    user: (userId, reason) => follow({ userId }, () => revocations.user(userId, reason)),
    setPassword: (userId, hash) => follow({ userId }, () => revocations.setPassword(userId, hash)),
    setActive: (userId, active) => follow({ userId }, () => revocations.setActive(userId, active)),
    deleteUser: (userId) => follow({ userId }, () => revocations.deleteUser(userId))
  }
}
