import { setTimeout as pause } from 'node:timers/promises'
import { POSTGRES_FAULTS, REDIS_FAULTS, SERVER_FAULTS } from './faults.js'
import type { Fault, FaultTargets, Heal } from './faults.js'
import { POSTGRES_WAY_FAULTS, REDIS_WAY_FAULTS } from './network-faults.js'
import { createRandom } from './random.js'

export interface Step { name: string, fault: Fault, gapMs: number, lengthMs: number }

export interface FaultRecord {
  name: string
  beganAt: number
  endedAt: number
  /** How often it occurred, if it waited for an event. */
  strikes?: number
}

/** A fault that could not begin. */
export interface FailedFault { name: string, reason: string }

export interface Weather {
  seed: number
  /** Whether some faults last for seconds. */
  hasLong: boolean
}

interface Lane { faults: Record<string, Fault>, gapMs: [number, number] }

/** A lane has one fault at a time; faults of different lanes overlap. The gaps leave time in which operations succeed. */
const LANES: Record<string, Lane> = {
  redis: { faults: REDIS_FAULTS, gapMs: [300, 1500] },
  'redis way': { faults: REDIS_WAY_FAULTS, gapMs: [300, 1500] },
  'postgres way': { faults: POSTGRES_WAY_FAULTS, gapMs: [300, 1500] },
  postgres: { faults: POSTGRES_FAULTS, gapMs: [1500, 4000] },
  server: { faults: SERVER_FAULTS, gapMs: [1500, 4000] }
}

/** Every fault there is. */
export const FAULTS: readonly string[] = Object.values(LANES).flatMap(({ faults }) => Object.keys(faults))

/** Some of these faults are long enough to exceed time limits of a server: `lookup.timeout`, and the time after which it reconnects to a silent Redis. */
const LASTING = /frozen|half|unheard|deaf/
/** The longest time that a fault waits for its event. */
const MOST_WAIT_MS = 15_000
/** How many operations must succeed between two faults of a lane, however slow the machine is. */
const LEAST_OK = 15

/** The endless plan of a lane, which the seed determines. Every fault occurs once before any occurs again. */
export function * planLane (lane: string, { seed, hasLong }: Weather): Generator<Step> {
  const { faults, gapMs } = LANES[lane]!
  const random = createRandom(seed ^ [...lane].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7))
  while (true) {
    for (const [name, fault] of random.shuffle(Object.entries(faults))) {
      const isLong = hasLong && LASTING.test(name) && random.next() < 0.5
      yield { name, fault, gapMs: random.between(...gapMs), lengthMs: isLong ? random.between(2000, 7000) : random.pick([50, 150, 300, 500, 900]) }
    }
  }
}

export interface Nemesis {
  /** The faults that have ended. */
  faults: FaultRecord[]
  failed: FailedFault[]
  /** Ends every fault. */
  stop (): Promise<void>
}

/** Injects faults until it is stopped. `succeeded()` returns how many operations have succeeded so far. */
export function startNemesis (targets: FaultTargets, weather: Weather, succeeded: () => number): Nemesis {
  const faults: FaultRecord[] = []
  const failed: FailedFault[] = []
  const stopping = new AbortController()
  const wait = (ms: number) => pause(ms, undefined, { signal: stopping.signal }).catch(() => {})

  async function runLane (lane: string): Promise<void> {
    const random = createRandom(weather.seed + lane.length)
    for (const { name, fault, gapMs, lengthMs } of planLane(lane, weather)) {
      const least = succeeded() + LEAST_OK
      await wait(gapMs)
      await until(() => succeeded() >= least)
      if (stopping.signal.aborted) return
      const record = { name, beganAt: performance.now(), endedAt: NaN }
      // A fault of another lane may prevent the start of this one: then it is skipped and counted.
      const heal = await fault(targets, random).catch((error: Error) => { failed.push({ name, reason: error.message }); return null })
      await wait(lengthMs)
      if (heal === null) continue
      await until(() => heal.strikes?.() !== 0)
      await untilDone(heal)
      faults.push({ ...record, endedAt: performance.now(), ...(heal.strikes !== undefined && { strikes: heal.strikes() }) })
    }
  }

  async function until (condition: () => boolean): Promise<void> {
    const deadline = performance.now() + MOST_WAIT_MS
    while (!condition() && performance.now() < deadline && !stopping.signal.aborted) await wait(20)
  }

  const lanes = Promise.all(Object.keys(LANES).map(runLane))
  return {
    faults,
    failed,
    async stop () {
      stopping.abort()
      await lanes
    }
  }
}

// A fault of another lane may also prevent the end of this one, so the end is retried.
async function untilDone (heal: Heal): Promise<void> {
  const deadline = performance.now() + 20_000
  while (true) {
    try {
      await heal()
      return
    } catch (error) {
      if (performance.now() > deadline) throw error
      await pause(50)
    }
  }
}
