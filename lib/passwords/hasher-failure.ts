import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'
import { atMostEvery } from '../tools/quiet-log.js'

const PAUSE_MS = 60_000

/** Tells the log why passwords cannot be hashed or verified; at most once a minute, since each login may fail at it. */
export function createHasherFailureReport ({ logger, monotonicNow }: { logger: Logger, monotonicNow: Now }): (error: Error) => void {
  return atMostEvery(PAUSE_MS, (error: Error) => {
    logger.error({ err: error }, 'passwords cannot be checked: a hasher fails')
  }, monotonicNow)
}
