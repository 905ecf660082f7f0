import { AsyncLocalStorage } from 'node:async_hooks'
import type { Starts } from './processes.js'
import { within } from './time-limit.js'
import { createWaitingSteps } from './waiting.js'
import type { Step, TakenStep, WaitingStep } from './waiting.js'
import { createWrap } from './wrap.js'
import type { Wrap } from './wrap.js'

/** Chooses one of the possible steps. `null` abandons the schedule. */
export type Choose = (possible: readonly Step[], last: TakenStep | undefined) => string | null

export interface Run {
  taken: TakenStep[]
  /** Which processes wait for what for ever. `null`: all have ended, except daemons. */
  deadlock: string | null
}

export interface Scheduler {
  wrap: Wrap
  /** Runs the processes one step at a time, until no step is possible. Resolves to `null` if the schedule was abandoned. */
  run<World> (processes: Starts<World>, world: World, choose: Choose): Promise<Run | null>
  /** The rejections of processes, and the processes that did not start because of them. */
  readonly rejections: readonly string[]
}

/** A daemon whose steps need no condition would go on for ever. */
const MOST_STEPS = 5000

// One for all schedules: each instance makes every promise slower, even when it is no longer used.
const processNames = new AsyncLocalStorage<string>()

/**
 * Runs one port call at a time. When it has completed, promise jobs run until every process waits before its next call or
 * has ended; processes do nothing else that takes time. A call may take `timeoutMs`.
 */
export function createScheduler (timeoutMs: number): Scheduler {
  const waiting = createWaitingSteps()
  const taken: TakenStep[] = []
  const rejections: string[] = []
  const started = new Set<string>()
  const unfinished = new Set<string>()
  let completed!: () => void

  /** The steps that are possible now. What the last step has changed is noted. */
  function look (): WaitingStep[] {
    const { possible, changed } = waiting.look()
    const last = taken.at(-1)
    if (last !== undefined) last.changed = changed
    return possible
  }

  async function take ({ step, enabledBy, proceed }: WaitingStep): Promise<void> {
    if (taken.length === MOST_STEPS) throw new Error(`${step.label}: is one of more than ${MOST_STEPS} steps. A process must end, or wait for a condition`)
    waiting.remove(step.label)
    taken.push({ step, enabledBy, changed: [] })
    await within(timeoutMs, `${step.label}: has not been answered`, new Promise<void>((resolve) => { completed = resolve; proceed() }))
    await settle()
  }

  function start<World> (processes: Starts<World>, world: World, predecessor: string | null): void {
    for (const [name, { after, run }] of Object.entries(processes)) {
      if (after !== predecessor) continue
      started.add(name)
      unfinished.add(name)
      const ended = () => { unfinished.delete(name); start(processes, world, name) }
      const failed = (error: unknown) => { unfinished.delete(name); rejections.push(`${name}: ${messageOf(error)}`) }
      processNames.run(name, () => Promise.resolve(world).then(run)).then(ended, failed)
    }
  }

  function findDeadlock (processes: Starts<never>): string | null {
    // Sorted, so that all orders that end in one deadlock say the same.
    const labels = waiting.labels().sort()
    if (unfinished.size > 0 && labels.length === 0) throw new Error(`${[...unfinished].join(', ')}: waits for something that is no step`)
    const stuck = [...unfinished].filter((name) => !processes[name]!.isDaemon)
    return stuck.length === 0 ? null : `deadlock: ${stuck.join(', ')} cannot go on, since no waiting step is possible (${labels.join(', ')})`
  }

  // A process that has not run must not look like one that kept its promise.
  function end (processes: Starts<never>): void {
    for (const [name, { after }] of Object.entries(processes)) {
      if (!started.has(name)) rejections.push(`${name}: has not started, since ${after} has not resolved`)
    }
    if (taken.length + rejections.length === 0) throw new Error('no process has made a step: `setup` must wrap what they call')
  }

  return {
    wrap: createWrap({
      isInProcess: () => processNames.getStore() !== undefined,
      arrive: (arrival) => waiting.add(processNames.getStore() as string, arrival, taken.length - 1),
      completed: () => completed()
    }),
    rejections,
    async run (processes, world, choose) {
      start(processes, world, null)
      await settle()
      for (let possible = look(); possible.length > 0; possible = look()) {
        const label = choose(possible.map(({ step }) => step), taken.at(-1))
        if (label === null) return null
        const chosen = possible.find(({ step }) => step.label === label)
        if (chosen === undefined) throw new Error(`${label}: cannot come now, only ${possible.map(({ step }) => step.label).join(', ')}`)
        await take(chosen)
      }
      const deadlock = findDeadlock(processes)
      if (deadlock === null) end(processes)
      return { taken, deadlock }
    }
  }
}

// Promise jobs and next ticks are all done before the next turn of the event loop.
function settle (): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
