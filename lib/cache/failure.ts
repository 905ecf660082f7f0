import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'

const QUIET_MS = 10_000

export interface FailureReporterSettings {
  tell: (operation: string, error: Error) => void
  logger: Logger
  monotonicNow: Now
  message: string
}

/** A cache's error without keys and values: ioredis' carry the whole command, and a message may quote it. */
export function redactCommand (error: Error): Error {
  const isReply = error.name === 'ReplyError'
  const text = isReply ? `Redis answered ${/^[A-Z]+/.exec(error.message)?.[0] ?? 'an error'}` : error.message
  return Object.assign(new Error(text), { name: 'CacheError' })
}

/** Passes failures on, and logs one in ten seconds: a cache that is away fails at every request. */
export function createFailureReporter ({ tell, logger, monotonicNow, message }: FailureReporterSettings) {
  let quietUntil = -Infinity
  return (operation: string, failure: Error): void => {
    const error = redactCommand(failure)
    tell(operation, error)
    if (monotonicNow() < quietUntil) return
    quietUntil = monotonicNow() + QUIET_MS
    logger.warn({ err: error, operation }, message)
  }
}
