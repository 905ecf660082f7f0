import type { Logger } from '../ports.js'

/** Calls back after this time, without keeping the process alive. */
export type Later = (callback: () => void, ms: number) => void

export interface HookCalls {
  /** Never rejects. */
  call (event: object): Promise<void>
}

export interface HookCallsSettings {
  hook: (event: unknown) => unknown
  /** Name of the event, for the log. */
  name: string
  /** Maximum number of pending calls; further events are dropped. */
  most: number
  logger: Logger
  later?: Later | undefined
}

/** Shortest time between two log lines about dropped events, in milliseconds. */
const REPORT_MS = 10_000

const unrefTimeout: Later = (callback, ms) => { setTimeout(callback, ms).unref() }

/** Calls one hook, with a limit on pending calls; its errors are logged. */
export function createHookCalls ({ hook, name, most, logger, later = unrefTimeout }: HookCallsSettings): HookCalls {
  let calls = 0
  let dropped = 0
  let isWaiting = false

  function drop (): void {
    dropped++
    if (!isWaiting) reportDropped()
  }

  // The next line has the number of events dropped after this one.
  function reportDropped (): void {
    isWaiting = dropped > 0
    if (!isWaiting) return
    logQuietly({ event: name, dropped }, `events are dropped: ${most} calls of the hook have not returned`)
    dropped = 0
    later(reportDropped, REPORT_MS)
  }

  // Logging a foreign error may fail: its message may be a getter that throws.
  function reportError (error: unknown): void {
    try {
      logger.error({ err: error, event: name }, 'an event hook failed')
    } catch {
      logQuietly({ event: name }, 'an event hook failed, with an error that cannot be logged')
    }
  }

  // A broken logger is no reason to end the process.
  function logQuietly (fields: object, message: string): void {
    try {
      logger.error(fields, message)
    } catch {}
  }

  return {
    async call (event) {
      if (calls >= most) return drop()
      calls++
      try {
        await hook(event)
      } catch (error) {
        reportError(error)
      } finally {
        calls--
      }
    }
  }
}
