import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'

const PAUSE_MS = 60_000

/** Tells the log why passwords cannot be hashed or verified; at most once a minute, since each login may fail at it. */
export function createHasherFailureReport ({ logger, now }: { logger: Logger, now: Now }): (error: Error) => void {
  let quietUntil = -Infinity

  return function report (error) {
    if (now() < quietUntil) return
    quietUntil = now() + PAUSE_MS
    logger.error({ err: error }, 'passwords cannot be checked: a hasher fails')
  }
}
