import { callable, isPlainObject, refuse } from '../options/rules.js'
import { readOptions } from './options.js'

/** Does what one party does. It may wait for calls of wrapped ports and for nothing else. A rejection is a violation. */
export type Process<World> = (world: World) => Promise<void>

/**
 * Processes by name; with `after`, one that starts when another has resolved. If that one rejects it never starts, which is a
 * violation of its own.
 */
export type Processes<World> = Record<string, Process<World> | { after: string, run: Process<World> }>

/** The same in one form; `null`: it starts at once. */
export type Starts<World> = Record<string, { after: string | null, run: Process<World> }>

/** Refuses processes that could never start: they would break no promise, and nobody would notice. */
export function readProcesses<World> (value: unknown, path: string): Starts<World> {
  if (!isPlainObject(value) || Object.keys(value).length === 0) return refuse(path, 'an object with a process or more', value)
  const names = Object.keys(value)
  const starts = Object.fromEntries(names.map((name) => [name, readProcess<World>(value[name], `${path}.${name}`, names.filter((other) => other !== name))]))
  for (const name of names) {
    const { after } = starts[name]!
    if (waitsForItself(starts, name)) refuse(`${path}.${name}.after`, 'a process that does not wait for this one', after)
  }
  return starts
}

function readProcess<World> (value: unknown, path: string, others: string[]): Starts<World>[string] {
  if (typeof value === 'function') return { after: null, run: value as Process<World> }
  if (!isPlainObject(value)) return refuse(path, 'a function, or { after, run }', value)
  return readOptions<Starts<World>[string]>(value, {
    after: (after, at) => others.includes(after as string) ? after as string : refuse(at, `another process (${others.join(', ') || 'there is none'})`, after),
    run: callable()
  }, path)
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
