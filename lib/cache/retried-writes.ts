import { withDeadline } from '../tools/deadline.js'
import { untilDone } from '../tools/until-done.js'
import type { ReportFailure } from './availability.js'
import type { Digest } from '../../types/cache.js'
import type { Doubts } from './doubts.js'

export interface RetriedWrites {
  /** Resolves to whether all writes are acknowledged in time; the others are repeated in the background until they are. Never rejects. */
  write (digests: readonly Digest[]): Promise<boolean>
  /** Forgets acknowledged writes: the cache may have lost them. */
  forget (): void
  close (): Promise<void>
}

export interface RetriedWritesSettings {
  operation: string
  /** Whether only a loss of the cache can undo the write: an acknowledged write is then not sent again. */
  isTerminal: boolean
  send: (digests: readonly Digest[]) => Promise<void>
  /** How long a caller waits; unlimited if omitted. The write goes on. */
  timeoutMs?: number | undefined
  onFailure: ReportFailure
  /** These tokens are in doubt until their write is acknowledged. */
  doubts: Doubts
  /** Called if there are too many writes to keep. */
  overflowed: () => void
}

/** Maximum number of writes that are remembered, and of those that are repeated: with more, the whole cache is brought up to date from SQL. */
const MOST = 10_000

/** Writes that must reach the cache: repeated until it has acknowledged them. */
export function createRetriedWrites ({ operation, isTerminal, send, timeoutMs, onFailure, doubts, overflowed }: RetriedWritesSettings): RetriedWrites {
  const acknowledged = new Set<Digest>()
  const pending = new Map<Digest, () => void>()
  const closing = new AbortController()
  let repeating: Promise<void> | null = null

  async function attemptOrKeep (digests: readonly Digest[]): Promise<boolean> {
    const isDone = await attempt(digests)
    if (!isDone) keep(digests)
    return isDone
  }

  async function attempt (digests: readonly Digest[]): Promise<boolean> {
    try {
      await send(digests)
      if (isTerminal) for (const digest of digests) remember(digest)
      return true
    } catch (error) {
      onFailure(operation, error as Error)
      return false
    }
  }

  // A set keeps the order in which its elements were added.
  function remember (digest: Digest): void {
    acknowledged.delete(digest)
    acknowledged.add(digest)
    if (acknowledged.size > MOST) acknowledged.delete(acknowledged.values().next().value as Digest)
  }

  function keep (digests: readonly Digest[]): void {
    if (pending.size + digests.length > MOST) return overflowed()
    for (const digest of digests) if (!pending.has(digest)) pending.set(digest, doubts.begin({ digest }))
    repeating ??= repeat().finally(() => { repeating = null })
  }

  function settle (digests: readonly Digest[]): void {
    for (const digest of digests) {
      pending.get(digest)?.()
      pending.delete(digest)
    }
  }

  // The first attempt has just failed, so a pause comes first.
  async function repeat (): Promise<void> {
    let isFirst = true
    await untilDone(async () => {
      const digests = [...pending.keys()]
      if (!isFirst && await attempt(digests)) settle(digests)
      isFirst = false
      return pending.size === 0
    }, closing.signal)
  }

  async function inTime (work: Promise<boolean>): Promise<boolean> {
    if (timeoutMs === undefined) return await work
    return await withDeadline(work, { timeoutMs, expired: () => new Error('late') }).catch(() => false)
  }

  return {
    async write (digests) {
      const wanted = digests.filter((digest) => !acknowledged.has(digest))
      return wanted.length === 0 || await inTime(attemptOrKeep(wanted))
    },
    forget () { acknowledged.clear() },
    async close () {
      closing.abort()
      await repeating
    }
  }
}
