import { boolean, callable, entry, isObject, nullable, readTable, refuse } from '../options/rules.js'
import type { Rule } from '../options/rules.js'

/** The actions of one party. It may wait only for calls of wrapped ports. A rejection is a violation. */
export type Process<World> = (world: World) => Promise<void>

/** Processes by name. */
export type Processes<World> = Record<string, Process<World> | ProcessSettings<World>>

export interface ProcessSettings<World> {
  run: Process<World>
  /**
   * The process starts when this other one has resolved. If that one rejects, the process never starts, which is a violation as well.
   * Default: `null`, it starts at once.
   */
  after?: string | null
  /**
   * Whether it serves the others, such as a network or a clock, so that it may still wait when they have ended. Its steps are steps like any
   * other: a schedule ends when no step is possible. Default: false, it must end.
   */
  isDaemon?: boolean
}

/** Processes in their normal form. */
export type Starts<World> = Record<string, Required<ProcessSettings<World>>>

/** Refuses processes that could never start: they would find no violation, and nobody would notice. */
export function readProcesses<World> (value: unknown, path: string): Starts<World> {
  if (!isObject(value) || Object.keys(value).length === 0) return refuse(path, 'an object with at least one process', value)
  const names = Object.keys(value)
  const starts = Object.fromEntries(names.map((name) => [name, readProcess<World>(value[name], `${path}.${name}`, names.filter((other) => other !== name))]))
  for (const name of names) {
    const { after } = starts[name]!
    if (waitsForItself(starts, name)) refuse(`${path}.${name}.after`, 'a process that does not wait for this one', after)
  }
  return starts
}

function readProcess<World> (value: unknown, path: string, others: string[]): Starts<World>[string] {
  if (typeof value === 'function') return { run: value as Process<World>, after: null, isDaemon: false }
  if (!isObject(value)) return refuse(path, 'a function, or { run, after, isDaemon }', value)
  const another: Rule<string> = (after, at) => others.includes(after as string) ? after as string : refuse(at, `another process (${others.join(', ') || 'there is none'})`, after)
  return readTable<Starts<World>[string]>({
    run: entry(undefined, callable()),
    after: entry(null, nullable(another)),
    isDaemon: entry(false, boolean())
  }, value, { prefix: `${path}.` })
}

function waitsForItself (starts: Starts<never>, name: string): boolean {
  const passed = new Set<string>()
  let at: string | null = name
  while (at !== null && !passed.has(at)) {
    passed.add(at)
    at = starts[at]!.after
  }
  return at === name
}
