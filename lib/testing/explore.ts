import { readExploration } from './exploration.js'
import type { Exploration, InterleavingReport, Settings, Violation } from './exploration.js'
import { createPlan } from './plans.js'
import { createScheduler, messageOf } from './scheduler.js'
import type { Choose } from './scheduler.js'
import { within } from './time-limit.js'
import type { TakenStep } from './waiting.js'

/**
 * Runs processes in every order of their steps, or in a sample of the orders, each on a fresh state. It is deterministic: another run has the same schedules.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, a `TypeError`, before anything runs; an `Error` if there are more than `maxSchedules`, if no process
 * makes a step, if one waits for something other than a step, if a step does not complete, or if `independent` contradicts a condition;
 * and errors of `setup` and of conditions
 */
export async function exploreInterleavings<World> (exploration: Exploration<World>): Promise<InterleavingReport> {
  const settings = readExploration(exploration)
  const plan = createPlan(settings)
  const report: InterleavingReport = { schedules: 0, orders: 0, violations: [], sample: settings.sample }
  const running = new Set<Promise<void>>()
  const failures: unknown[] = []

  async function follow (choose: Choose): Promise<void> {
    const outcome = await runSchedule(settings, choose)
    if (outcome === null) return
    report.schedules++
    if (settings.sample === null && report.schedules > settings.maxSchedules) throw new Error(`more than ${settings.maxSchedules} schedules: allow more, or use fewer steps`)
    report.orders += plan.ordersOf(outcome.taken)
    report.violations.push(...outcome.violations)
    settings.onProgress(report)
  }

  function next (): Choose | null {
    const isEnough = failures.length > 0 || (settings.stopAtFirst && report.violations.length > 0)
    return isEnough || running.size >= settings.concurrency ? null : plan.next()
  }

  for (let choose = next(); choose !== null || running.size > 0; choose = next()) {
    if (choose === null) {
      await Promise.race(running)
      continue
    }
    const followed = follow(choose).catch((error) => { failures.push(error) }).finally(() => running.delete(followed))
    running.add(followed)
  }
  if (failures.length > 0) throw failures[0]
  report.violations.sort((one, other) => one.schedule.length - other.schedule.length || (one.schedule.join() < other.schedule.join() ? -1 : 1))
  return report
}

/** Runs one schedule. `null`: another branch covers all that would follow. */
async function runSchedule<World> (settings: Settings<World>, choose: Choose): Promise<{ taken: TakenStep[], violations: Violation[] } | null> {
  const { timeoutMs, schedule: given } = settings
  const scheduler = createScheduler(timeoutMs)
  const world = await within(timeoutMs, 'setup: has not ended', (async () => await settings.setup(scheduler.wrap))())
  const run = await scheduler.run(settings.processes, world, choose)
  if (run === null) return null
  const { taken, deadlock } = run
  if (given !== null && taken.length < given.length) throw new Error(`${given[taken.length]}: cannot come now, ${deadlock ?? 'all have ended'}`)
  const messages = [...scheduler.rejections]
  const checked = deadlock === null ? Promise.resolve(world).then(settings.check) : Promise.reject(new Error(deadlock))
  await within(timeoutMs, 'check: has not ended', checked.catch((error) => { messages.push(messageOf(error)) }))
  const schedule = taken.map(({ step }) => step.label)
  return { taken, violations: messages.map((message) => ({ schedule, message })) }
}
