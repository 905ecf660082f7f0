import { boolean, callable, entry, integer, list, nullable, readTable, refuse, text } from '../options/rules.js'
import { NEVER } from './orders.js'
import type { Independent } from './orders.js'
import { readProcesses } from './processes.js'
import type { Processes, Starts } from './processes.js'
import { timeout } from './time-limit.js'
import type { Wrap } from './wrap.js'

/** A random sample of the schedules. */
export interface Sample {
  /** The number of schedules. The same one may be chosen more than once. */
  schedules: number
  /** From 0 to 4294967295. Default: 1. The same seed gives the same schedules, independent of `concurrency`. */
  seed?: number
}

export interface Violation { schedule: string[], message: string }

export interface InterleavingReport {
  schedules: number
  /** The number of orders of steps that the schedules represent. Equals `schedules` without `independent`, and for a sample. */
  orders: number
  violations: Violation[]
  /** `null` if every order was run. After a sample, orders that were not run may still contain violations. */
  sample: Required<Sample> | null
}

/** For an option that is `undefined` the default applies. */
export interface Exploration<World> {
  /** Creates a fresh state for one schedule: new rows, new keys. Processes call the ports that are wrapped here. */
  setup (wrap: Wrap): World | Promise<World>
  /** At least one. An `after` that names no other process, or forms a circle, is refused. */
  processes: Processes<World>
  /** Called when all processes have ended. Throws if a promise was broken. */
  check? (world: World): void | Promise<void>
  /**
   * Whether two steps have the same effect in either order, in any state, and neither makes the other possible or impossible. Default: never,
   * so that every order is run. Otherwise only one of the schedules that differ by such swaps is run (sleep sets, Godefroid 1996). Steps of
   * one process are never independent. A sample or a single schedule ignores this option.
   */
  independent?: Independent
  /** More schedules than this are an error, so that none is left out silently. Default: 10 000. Does not apply to a sample. */
  maxSchedules?: number
  /**
   * Runs a random sample of the schedules, for more processes than can be run in every order. At each point, each possible step is equally
   * likely. Not together with `schedule`. Default: `null`.
   */
  sample?: Sample | null
  /** The number of schedules that run at the same time. Default: 1. More need states that share nothing. */
  concurrency?: number
  /** Stops at the first violation, which is enough to show that a broken store is detected. */
  stopAtFirst?: boolean
  /** Runs only this schedule, as reported by a violation. */
  schedule?: readonly string[] | null
  /** Time limit for `setup`, for each step and for `check`. Exceeding it is an error. Default: 10 000. */
  timeoutMs?: number
  onProgress?: (report: InterleavingReport) => void
}

export type Settings<World> = Required<Omit<Exploration<World>, 'processes' | 'sample'>> & {
  processes: Starts<World>
  sample: Required<Sample> | null
}

const MAX_SEED = 2 ** 32 - 1

const number = (max: number) => integer({ min: 1, max })

function readSample (value: unknown, path: string): Required<Sample> {
  return readTable<Required<Sample>>({ schedules: entry(undefined, number(1e9)), seed: entry(1, integer({ min: 0, max: MAX_SEED })) }, value, { prefix: `${path}.` })
}

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option */
export function readExploration<World> (exploration: Exploration<World>): Settings<World> {
  const settings = readTable<Settings<World>>({
    setup: entry(undefined, callable()),
    processes: entry(undefined, readProcesses<World>),
    check: entry(() => {}, callable()),
    independent: entry(NEVER, callable()),
    maxSchedules: entry(10_000, number(1e9)),
    sample: entry(null, nullable(readSample)),
    concurrency: entry(1, number(1000)),
    stopAtFirst: entry(false, boolean()),
    schedule: entry(null, nullable(list(text('a step', /./), { min: 0 }))),
    timeoutMs: timeout,
    onProgress: entry(() => {}, callable())
  }, exploration, { prefix: '' })
  if (settings.sample !== null && settings.schedule !== null) refuse('sample', 'left out where there is a schedule', settings.sample)
  return settings
}
