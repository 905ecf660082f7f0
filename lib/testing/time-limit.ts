import { entry, integer } from '../options/rules.js'
import { withDeadline } from '../tools/deadline.js'

/** The option `timeoutMs`. The maximum is the longest delay of a timer. */
export const timeout = entry(10_000, integer({ min: 1, max: 2 ** 31 - 1 }))

/**
 * Settles as `work` does, and rejects after `timeoutMs`. Without a timer, Node.js would exit with code 13 and no message when
 * `work` hangs and nothing else is left to do.
 */
export function within<Result> (timeoutMs: number, what: string, work: Promise<Result>): Promise<Result> {
  return withDeadline(work, { timeoutMs, expired: () => new Error(`${what} in ${timeoutMs} ms`) })
}
