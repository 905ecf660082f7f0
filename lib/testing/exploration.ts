import { boolean, callable, integer, list, nullable, refuse, text } from '../options/rules.js'
import { optional, readOptions } from './options.js'
import type { Independent } from './orders.js'
import { readProcesses } from './processes.js'
import type { Processes, Starts } from './processes.js'
import type { InterleavingReport } from './explore.js'
import type { Wrap } from './scheduler.js'
import { timeout } from './within.js'

/** Some schedules, chosen by chance, in place of all. */
export interface Sample {
  /** How many. The same one may come more than once. */
  schedules: number
  /** From 0 to 4294967295, 1 by default. The same seed gives the same schedules, whatever `concurrency` is. */
  seed?: number
}

/** Where an option is `undefined`, its default stands. */
export interface Exploration<World> {
  /** Makes a fresh state for one schedule: new rows, new keys. Ports that are wrapped here are what processes call. */
  setup (wrap: Wrap): World | Promise<World>
  /** One at least. Who waits `after` a process that is not there, or for itself in a circle, is refused. */
  processes: Processes<World>
  /** Called when all have ended; throws where a promise was broken. */
  check? (world: World): void | Promise<void>
  /**
   * Which steps may be swapped without a difference, in any state; none by default, and every order is run.
   * With it one schedule is run of all those that differ by such swaps (sleep sets, Godefroid 1996). Steps of one process never are.
   * Only where every order is run is it asked.
   */
  independent?: Independent
  /** More schedules than this are an error: nothing is left out silently. 10 000 by default. A sample says itself how many it has. */
  maxSchedules?: number
  /**
   * Runs so many schedules in place of all, for more processes than can be tried in every order: at each point one of the steps that are possible is
   * chosen, each as likely as the others. Not together with `schedule`. `null` by default.
   */
  sample?: Sample | null
  /** How many schedules run at the same time. 1 by default; more need states that have nothing in common. */
  concurrency?: number
  /** Stops at the first violation: enough to see that a broken store is found. */
  stopAtFirst?: boolean
  /** Runs this one only, as a violation shows it. */
  schedule?: readonly string[] | null
  /** How long `setup`, one step or `check` may take: longer is an error, and no endless test. 10 000 by default. */
  timeoutMs?: number
  onProgress?: (report: InterleavingReport) => void
}

export type Settings<World> = Required<Omit<Exploration<World>, 'processes' | 'sample'>> & {
  processes: Starts<World>
  sample: Required<Sample> | null
}

const LARGEST_SEED = 2 ** 32 - 1

/** Nothing may be swapped. */
export const NEVER: Independent = () => false

const number = (max: number) => integer({ min: 1, max })

function readSample (value: unknown, path: string): Required<Sample> {
  return readOptions<Required<Sample>>(value, { schedules: number(1e9), seed: optional(1, integer({ min: 0, max: LARGEST_SEED })) }, path)
}

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option */
export function readExploration<World> (exploration: Exploration<World>): Settings<World> {
  const settings = readOptions<Settings<World>>(exploration, {
    setup: callable(),
    processes: readProcesses,
    check: optional(() => {}, callable()),
    independent: optional(NEVER, callable()),
    maxSchedules: optional(10_000, number(1e9)),
    sample: optional(null, nullable(readSample)),
    concurrency: optional(1, number(1000)),
    stopAtFirst: optional(false, boolean()),
    schedule: optional(null, nullable(list(text('a step', /./), { min: 0 }))),
    timeoutMs: timeout,
    onProgress: optional(() => {}, callable())
  })
  if (settings.sample !== null && settings.schedule !== null) refuse('sample', 'left out where there is a schedule', settings.sample)
  return settings
}
