import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

const PAUSES = { firstMs: 100, longestMs: 5000 }

/**
 * Calls `attempt` until it resolves to `true`, after pauses that double, from 0.1 s to 5 s by default. Ends early when `signal` aborts; the attempt under
 * way then ends first. It does not keep the process alive.
 */
export async function untilDone (attempt: () => Promise<boolean>, signal: AbortSignal, { firstMs, longestMs } = PAUSES): Promise<void> {
  // Many loops may wait for one signal: Node.js would take the eleventh for a leak.
  setMaxListeners(0, signal)
  let pauseMs = firstMs
  while (!signal.aborted && !await attempt()) {
    await pause(pauseMs, signal)
    pauseMs = Math.min(pauseMs * 2, longestMs)
  }
}

async function pause (ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { ref: false, signal }).catch(() => {})
}
