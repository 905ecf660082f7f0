import { areDependent, countOrders } from './orders.js'
import type { Independent } from './orders.js'
import { createScheduler, messageOf } from './scheduler.js'
import type { Choose, Processes, Wrap } from './scheduler.js'

export interface Exploration<World> {
  /** Makes a fresh state for one schedule: new rows, new keys. Ports that are wrapped here are what processes call. */
  setup (wrap: Wrap): World | Promise<World>
  processes: Processes<World>
  /** Called when all have ended; throws where a promise was broken. */
  check? (world: World): void | Promise<void>
  /**
   * Which steps may be swapped without a difference, in any state; none by default, and every order is run.
   * With it one schedule is run of all those that differ by such swaps (sleep sets, Godefroid 1996). Steps of one process never are.
   */
  independent?: Independent
  /** More schedules than this are an error: nothing is left out silently. 10 000 by default. */
  maxSchedules?: number
  /** How many schedules run at the same time. 1 by default; more need states that have nothing in common. */
  concurrency?: number
  /** Stops at the first violation: enough to see that a broken store is found. */
  stopAtFirst?: boolean
  /** Runs this one only, as a violation shows it. */
  schedule?: readonly string[] | null
  onProgress?: (report: InterleavingReport) => void
}

export interface Violation { schedule: string[], message: string }

export interface InterleavingReport {
  schedules: number
  /** How many orders of steps they stand for; as many as `schedules` without `independent`. */
  orders: number
  violations: Violation[]
}

/** The first steps of a schedule, and steps whose schedules from there on are run elsewhere. */
interface Branch { prefix: readonly string[], asleep: readonly string[] }

const DEFAULTS = {
  check: () => {},
  independent: () => false,
  maxSchedules: 10_000,
  concurrency: 1,
  stopAtFirst: false,
  schedule: null,
  onProgress: () => {}
}

/**
 * Runs processes in every order of their steps, on a fresh state each. Deterministic: who runs it again sees the same schedules.
 * @throws where there are more than `maxSchedules`, or where a process waits for something that is no step
 */
export async function exploreInterleavings<World> (exploration: Exploration<World>): Promise<InterleavingReport> {
  const settings = { ...DEFAULTS, ...exploration }
  const branches: Branch[] = [{ prefix: settings.schedule ?? [], asleep: [] }]
  const report: InterleavingReport = { schedules: 0, orders: 0, violations: [] }
  const running = new Set<Promise<void>>()
  const failures: unknown[] = []

  async function follow (branch: Branch): Promise<void> {
    const outcome = await runSchedule(settings, branch, branches)
    if (outcome === null) return
    if (++report.schedules > settings.maxSchedules) throw new Error(`more than ${settings.maxSchedules} schedules: allow more, or use fewer steps`)
    report.orders += outcome.orders
    report.violations.push(...outcome.violations)
    if (settings.schedule !== null || (settings.stopAtFirst && report.violations.length > 0)) branches.length = 0
    settings.onProgress(report)
  }

  function failed (error: unknown): void {
    failures.push(error)
    branches.length = 0
  }

  while (branches.length + running.size > 0) {
    while (branches.length > 0 && running.size < settings.concurrency) {
      const followed = follow(branches.pop()!).catch(failed).finally(() => running.delete(followed))
      running.add(followed)
    }
    await Promise.race(running)
  }
  if (failures.length > 0) throw failures[0]
  report.violations.sort((one, other) => one.schedule.length - other.schedule.length || (one.schedule.join() < other.schedule.join() ? -1 : 1))
  return report
}

type Settings<World> = Required<Exploration<World>>

/** Runs one schedule, and leaves the branches that it did not take. `null`: all that follows is run elsewhere. */
async function runSchedule<World> (settings: Settings<World>, branch: Branch, branches: Branch[]): Promise<{ orders: number, violations: Violation[] } | null> {
  const scheduler = createScheduler()
  const world = await settings.setup(scheduler.wrap)
  const taken = await scheduler.run(settings.processes, world, chooser(settings.independent, branch, branches))
  if (taken === null) return null
  const messages = [...scheduler.rejections]
  await Promise.resolve(world).then(settings.check).catch((error) => messages.push(messageOf(error)))
  const schedule = taken.map(({ step }) => step.label)
  const orders = settings.independent === DEFAULTS.independent ? 1 : countOrders(taken, settings.independent)
  return { orders, violations: messages.map((message) => ({ schedule, message })) }
}

/** Follows a branch to its end and beyond, always the first step that is not asleep, and notes the others as branches. */
function chooser (independent: Independent, { prefix, asleep }: Branch, branches: Branch[]): Choose {
  const steps: string[] = []
  let sleeping = asleep

  return (possible) => {
    const given = prefix[steps.length]
    if (given !== undefined) return go(given)
    const awake = possible.filter(({ label }) => !sleeping.includes(label))
    // A step that was run before, from here, sleeps until one comes that it is not independent of.
    const explored = possible.filter(({ label }) => sleeping.includes(label))
    const children = awake.map((step) => {
      const child = { prefix: [...steps, step.label], asleep: explored.filter((other) => !areDependent(other, step, independent)).map(({ label }) => label) }
      explored.push(step)
      return child
    })
    const [first, ...others] = children
    if (first === undefined) return null
    branches.push(...others.reverse())
    sleeping = first.asleep
    return go(first.prefix.at(-1)!)
  }

  function go (label: string): string {
    steps.push(label)
    return label
  }
}
