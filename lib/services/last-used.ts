import type { Logger, TokenRecord, TokenStore } from '../ports.js'
import type { Now } from '../../types/options.js'
import { createIdleHurry } from './idle-hurry.js'

export interface LastUsed {
  /** Notes a use, without I/O. */
  note (record: TokenRecord): void
  /** Writes what was noted. */
  flush (): Promise<void>
  /** Waits for what is being written, and writes the rest: once, whether that succeeds or not. */
  close (): Promise<void>
}

export interface LastUsedSettings {
  touch: TokenStore['touch']
  intervalMs: number
  now: Now
  logger: Logger
}

/** So many uses are written at once, and at most twice as many are kept while the database is away. */
const BATCH = 10_000
/** After a failure the next try comes sooner: meanwhile sessions come closer to their idle limit. */
const RETRY_MS = 1000

/**
 * Collects last uses and writes them in one statement an interval, off the request path. A session close to its
 * idle limit is written at once: whoever asks SQL next must not find it unused.
 */
export function createLastUsed ({ touch, intervalMs, now, logger }: LastUsedSettings): LastUsed {
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
      // Once an outage: each try would be a line.
      if (!isFailing) logger.warn({ err: error }, 'last uses could not be written, they are tried again')
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

  // Whoever asks meanwhile shares the next one: with a database that hangs, each of them costs its deadline.
  function follow (writing: Promise<void>): Promise<void> {
    following ??= writing.then(() => { following = null; return flush() })
    return following
  }

  return {
    note ({ sessionId, idleAtMs }) {
      const at = now()
      const isNew = !uses.has(sessionId)
      if (isNew && uses.size >= 2 * BATCH) return
      uses.set(sessionId, at)
      const isUrgent = hurry.isDue(sessionId, idleAtMs, at) || (isNew && uses.size === BATCH)
      // While writing fails, the next try is soon, and is not hastened by those who come.
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
