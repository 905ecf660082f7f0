import { setTimeout as sleep } from 'node:timers/promises'
import { withDeadline } from './deadline.js'
import { createRepeated } from './repeated.js'

/** How code waits. It is an argument where the order of steps in time is tested: see `createTestClock`. */
export interface Timing {
  /** Rejects when the signal is aborted. */
  pause (ms: number, options: { signal: AbortSignal }): Promise<void>
  withDeadline: typeof withDeadline
  createRepeated: typeof createRepeated
}

/** The timers of Node.js. */
export const TIMERS: Timing = { pause: async (ms, { signal }) => await sleep(ms, undefined, { signal }), withDeadline, createRepeated }
