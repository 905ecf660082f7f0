import type { Logger, TokenRecord, TokenStore } from '../ports.js'
import type { Now } from '../../types/options.js'
import { createIdleHurry } from './idle-hurry.js'

export interface LastUsed {
  /** Records a use, without I/O. `nowMs`: the wall clock, if it has been read. */
  note (record: TokenRecord, nowMs?: number): void
  /** Writes the recorded uses. */
  flush (): Promise<void>
  /** Waits for the write under way, and writes the rest once, successful or not. */
  close (): Promise<void>
}

export interface LastUsedSettings {
  touch: TokenStore['touch']
  intervalMs: number
  now: Now
  /** The time of PostgreSQL, by which idle limits are. */
  databaseNow: Now
  logger: Logger
}

/** Maximum number of uses in a write; twice as many are kept while the database is down. */
const BATCH = 10_000
/** Delay of the next attempt after a failure; shorter, because sessions approach their idle limit meanwhile. */
const RETRY_MS = 1000

/**
 * Collects last uses and writes them in one statement per interval, off the request path. A session close to its
 * idle limit is written at once: the next SQL lookup must not find it unused.
 */
export function createLastUsed ({ touch, intervalMs, now, databaseNow, logger }: LastUsedSettings): LastUsed {
  const hurry = createIdleHurry({ intervalMs, most: 2 * BATCH })
  let uses = new Map<string, number>()
  let timer: NodeJS.Timeout | null = null
  let writing: Promise<void> | null = null
  let following: Promise<void> | null = null
  let isFailing = false

  function schedule (): void {
    timer ??= setTimeout(flush, isFailing ? Math.min(RETRY_MS, intervalMs) : intervalMs).unref()
  }

  async function write (): Promise<void> {
    const batch = uses
    uses = new Map()
    try {
      const at = now()
      await touch([...batch.keys()], [...batch.values()].map((usedAt) => Math.max(0, at - usedAt)))
      isFailing = false
    } catch (error) {
      // Once per outage: otherwise each attempt would log a line.
      if (!isFailing) logger.warn({ err: error }, 'last uses could not be written, retrying')
      isFailing = true
      keep(batch)
    }
  }

  // A timer that was set before the failure would come too late.
  function keep (batch: Map<string, number>): void {
    const newer = uses
    uses = new Map()
    for (const [sessionId, usedAt] of [...newer, ...batch]) add(sessionId, newer.get(sessionId) ?? usedAt)
    stop()
    schedule()
  }

  function add (sessionId: string, usedAt: number): void {
    if (uses.size < 2 * BATCH || uses.has(sessionId)) uses.set(sessionId, usedAt)
    else hurry.forget(sessionId)
  }

  function stop (): void {
    if (timer !== null) clearTimeout(timer)
    timer = null
  }

  function flush (): Promise<void> {
    stop()
    if (writing !== null) return follow(writing)
    if (uses.size === 0) return Promise.resolve()
    writing = write().finally(() => { writing = null })
    return writing
  }

  // Calls during a write share the next one: with a database that hangs, each write takes its full deadline.
  function follow (writing: Promise<void>): Promise<void> {
    following ??= writing.then(() => { following = null; return flush() })
    return following
  }

  return {
    note ({ sessionId, idleAtMs }, nowMs = now()) {
      const before = uses.size
      if (before >= 2 * BATCH && !uses.has(sessionId)) return
      uses.set(sessionId, nowMs)
      const isNew = uses.size > before
      const isUrgent = (idleAtMs !== null && hurry.claimUrgentWrite(sessionId, idleAtMs, databaseNow())) || (isNew && uses.size === BATCH)
      // While writes fail, the next attempt is soon, and further uses do not bring it forward.
      if (isUrgent && !isFailing) flush()
      else schedule()
    },
    flush,
    async close () {
      await flush()
      stop()
    }
  }
}
