import { AsyncLocalStorage } from 'node:async_hooks'
import { createWrap } from './wrap.js'
import type { WrapSettings } from './wrap.js'
import type { Starts } from './processes.js'
import { within } from './within.js'

/** One call of a port by a process, or the arrival of its reply where that is a step of its own. */
export interface Step {
  /** `reader A: cache.get`; from the second time on with a number, `reader A: cache.get #2`. */
  readonly label: string
  readonly process: string
  readonly port: string
  readonly call: string
  readonly isReply: boolean
}

/** The port with each of its calls made a step, when a process makes it. Name it as schedules shall show it. */
export type Wrap = <Port extends object>(name: string, port: Port, settings?: WrapSettings) => Port

/** A step that was taken, and which one before it made it possible; `-1`: it was there from the start. */
export interface TakenStep { step: Step, enabledBy: number }

interface Gate extends TakenStep { open: () => void }

/** Chooses the next of the steps that are possible; `null` gives the schedule up. */
export type Choose = (possible: readonly Step[]) => string | null

export interface Scheduler {
  wrap: Wrap
  /** Runs the processes, one step at a time; resolves to the steps taken, or to `null` where the schedule was given up. */
  run<World> (processes: Starts<World>, world: World, choose: Choose): Promise<TakenStep[] | null>
  /** What processes rejected with, and which have not started because of it. */
  readonly rejections: readonly string[]
}

// One for all schedules: each storage makes every promise dearer, also when nobody uses it any more.
const processNames = new AsyncLocalStorage<string>()

/**
 * Lets one port call happen at a time. When it has completed, promise jobs are run until every process
 * stands before its next call or has ended: processes do nothing else that takes time. A call may take `timeoutMs`.
 */
export function createScheduler (timeoutMs: number): Scheduler {
  const waiting = new Map<string, Gate>()
  const calls = new Map<string, number>()
  const taken: TakenStep[] = []
  const rejections: string[] = []
  const started = new Set<string>()
  const unfinished = new Set<string>()
  let completed!: () => void

  function arrive (port: string, call: string, isReply: boolean): Promise<void> {
    const process = processNames.getStore() as string
    const name = `${process}: ${port}.${call}${isReply ? ' reply' : ''}`
    const count = (calls.get(name) ?? 0) + 1
    calls.set(name, count)
    const label = count === 1 ? name : `${name} #${count}`
    const step = { label, process, port, call, isReply }
    return new Promise((resolve) => waiting.set(label, { step, enabledBy: taken.length - 1, open: resolve }))
  }

  async function take ({ step, enabledBy, open }: Gate): Promise<void> {
    waiting.delete(step.label)
    taken.push({ step, enabledBy })
    await within(timeoutMs, `${step.label}: has not been answered`, new Promise<void>((resolve) => { completed = resolve; open() }))
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

  // Nothing that has not run may look like a promise that was kept.
  function end (processes: Starts<never>): void {
    if (unfinished.size > 0) throw new Error(`${[...unfinished].join(', ')}: waits for something that is no step`)
    for (const [name, { after }] of Object.entries(processes)) {
      if (!started.has(name)) rejections.push(`${name}: has not started, since ${after} has not resolved`)
    }
    if (taken.length + rejections.length === 0) throw new Error('no process has made a step: `setup` must wrap what they call')
  }

  return {
    wrap: createWrap({ isInProcess: () => processNames.getStore() !== undefined, arrive, completed: () => completed() }),
    rejections,
    async run (processes, world, choose) {
      start(processes, world, null)
      await settle()
      while (waiting.size > 0) {
        const label = choose([...waiting.values()].map(({ step }) => step))
        if (label === null) return null
        const gate = waiting.get(label)
        if (gate === undefined) throw new Error(`${label}: cannot come now, only ${[...waiting.keys()].join(', ')}`)
        await take(gate)
      }
      end(processes)
      return taken
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
