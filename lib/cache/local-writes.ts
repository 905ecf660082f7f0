import type { CacheConsistency } from './consistency.js'
import type { ReportFailure } from './availability.js'
import type { Doubts } from './doubts.js'
import type { Near } from './near.js'
import { createRetriedWrites } from './retried-writes.js'

export interface LocalWritesSettings {
  near: Pick<Near, 'withdraw' | 'clear'>
  doubts: Doubts
  /** How long a caller waits for its write; unlimited if omitted. */
  timeoutMs?: number
  onFailure: ReportFailure
}

/** Revocations of a server whose only cache is its memory: the other servers are notified, and there is nothing else to write. */
export function createLocalWrites ({ near, ...settings }: LocalWritesSettings): Pick<CacheConsistency, 'writeTombstones' | 'dropEntries' | 'watcher' | 'close'> {
  const writing = { ...settings, send: near.withdraw, overflowed: near.clear }
  const ends = createRetriedWrites({ ...writing, operation: 'tombstone', isTerminal: true })
  const drops = createRetriedWrites({ ...writing, operation: 'drop', isTerminal: false })
  return {
    writeTombstones: ends.write,
    dropEntries: drops.write,
    watcher: { doubt: settings.doubts.begin, ended: ends.write, overflowed: near.clear },
    async close () { await Promise.all([ends.close(), drops.close()]) }
  }
}
