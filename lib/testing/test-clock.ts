import { entry, integer, readTable, refuse } from '../options/rules.js'
import type { Wrap } from './wrap.js'

export interface TestClockSettings {
  /** The time between two ticks. Default: 1. */
  tickMs?: number
  /** How often time may pass although no process waits for it, so that timers are late and leases end early. Default: 1. */
  spareTicks?: number
}

/** A clock for code that takes its clock by argument. */
export interface TestClock {
  /** Milliseconds since `setup`. It is not a step: time passes only in ticks. */
  now (): number
  /**
   * Resolves when this time has passed. The step `clock.pause` may come as late as any other. When the signal is aborted it rejects with the reason,
   * and there is no such step any more. Outside of a process, as in a check, time passes at once.
   */
  pause (ms: number, options?: { signal?: AbortSignal }): Promise<void>
  /**
   * The passing of time, to be run as a daemon: `clock: { isDaemon: true, run: ({ clock }) => clock.run() }`. A step `clock.tick` is possible
   * while a process waits for a later instant, and some more times.
   */
  run (): Promise<never>
}

/**
 * Time that passes in steps. `independent` must be false for a tick and a step after which the code reads the clock, or begins or ends a pause.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the setting
 */
export function createTestClock (wrap: Wrap, settings: TestClockSettings = {}): TestClock {
  const { tickMs, spareTicks } = readTable<Required<TestClockSettings>>({
    tickMs: entry(1, integer({ min: 1, max: 1e9 })),
    spareTicks: entry(1, integer({ min: 0, max: 1000 }))
  }, settings, { prefix: '' })
  const pauses = new Set<{ endsAt: number }>()
  let now = 0
  let spare = spareTicks

  const isAwaited = () => [...pauses].some(({ endsAt }) => endsAt > now)

  async function tick (): Promise<void> {
    if (!isAwaited()) spare--
    now += tickMs
  }

  const steps = wrap('clock', {
    tick,
    pause: async (endsAt: number, _options: { signal?: AbortSignal }) => { now = Math.max(now, endsAt) }
  }, {
    when: { tick: () => spare > 0 || isAwaited(), pause: (endsAt) => now >= endsAt }
  })

  return {
    now: () => now,
    async pause (ms, options = {}) {
      if (!Number.isFinite(ms) || ms < 0) refuse('ms', 'a number of milliseconds', ms)
      const pause = { endsAt: now + ms }
      pauses.add(pause)
      await steps.pause(pause.endsAt, options).finally(() => pauses.delete(pause))
    },
    async run () {
      for (;;) await steps.tick()
    }
  }
}
