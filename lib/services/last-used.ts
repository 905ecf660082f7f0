import type { Logger, Now, TokenReader, TokenRecord } from '../../types/ports.js'

export interface LastUsed {
  /** Notes a use, without I/O. */
  note (record: TokenRecord): void
  /** Writes what was noted. */
  flush (): Promise<void>
  /** Waits for what is being written, and writes the rest: once, whether that succeeds or not. */
  close (): Promise<void>
}

export interface LastUsedSettings {
  touch: TokenReader['touch']
  intervalMs: number
  now: Now
  logger: Logger
}

/** So many uses are written at once, and at most twice as many are kept while the database is away. */
const BATCH = 10_000

/**
 * Collects last uses and writes them in one statement an interval, off the request path. A session close to its
 * idle limit is written at once: whoever asks SQL next must not find it unused.
 */
export function createLastUsed ({ touch, intervalMs, now, logger }: LastUsedSettings): LastUsed {
  let uses = new Map<string, number>()
  const hurried = new Set<string>()
  let timer: NodeJS.Timeout | null = null
  let writing: Promise<void> | null = null
  let following: Promise<void> | null = null

  function schedule (): void {
    timer ??= setTimeout(() => { hurried.clear(); flush() }, intervalMs).unref()
  }

  async function write (): Promise<void> {
    const batch = uses
    uses = new Map()
    try {
      const at = now()
      await touch([...batch.keys()], [...batch.values()].map((usedAt) => Math.max(0, at - usedAt)))
    } catch (error) {
      logger.warn({ err: error }, 'last uses could not be written, they are tried again')
      keep(batch)
    }
  }

  function keep (batch: Map<string, number>): void {
    if (uses.size + batch.size > 2 * BATCH) return
    uses = new Map([...batch, ...uses])
    schedule()
  }

  function flush (): Promise<void> {
    if (timer !== null) clearTimeout(timer)
    timer = null
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
      if (uses.size >= 2 * BATCH && !uses.has(sessionId)) return
      uses.set(sessionId, at)
      const isUrgent = idleAtMs !== null && idleAtMs - at < intervalMs && !hurried.has(sessionId)
      if (isUrgent) hurried.add(sessionId)
      if (isUrgent || uses.size === BATCH) flush()
      else schedule()
    },
    flush,
    async close () {
      await flush()
      if (timer !== null) clearTimeout(timer)
    }
  }
}
