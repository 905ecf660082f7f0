import { integer } from '../options/rules.js'
import { withDeadline } from '../tools/deadline.js'
import { optional } from './options.js'

/** The option `timeoutMs`; what a timer can hold at most. */
export const timeout = optional(10_000, integer({ min: 1, max: 2 ** 31 - 1 }))

/**
 * Settles as `work` does, and rejects where that hangs. Without a timer Node would leave with code 13 and no word, once nothing else
 * is left to do.
 */
export function within<Result> (timeoutMs: number, what: string, work: Promise<Result>): Promise<Result> {
  return withDeadline(work, { timeoutMs, expired: () => new Error(`${what} in ${timeoutMs} ms`) })
}
