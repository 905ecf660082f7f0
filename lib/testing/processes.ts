import { callable, entry, isObject, readTable, refuse } from '../options/rules.js'

/** The actions of one party. It may wait only for calls of wrapped ports. A rejection is a violation. */
export type Process<World> = (world: World) => Promise<void>

/**
 * Processes by name. With `after` a process starts when another one has resolved. If that one rejects, the process never starts, which
 * is a violation as well.
 */
export type Processes<World> = Record<string, Process<World> | { after: string, run: Process<World> }>

/** Processes in their normal form. `after: null`: it starts at once. */
export type Starts<World> = Record<string, { after: string | null, run: Process<World> }>

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
  if (typeof value === 'function') return { after: null, run: value as Process<World> }
  if (!isObject(value)) return refuse(path, 'a function, or { after, run }', value)
  return readTable<Starts<World>[string]>({
    after: entry(undefined, (after, at) => others.includes(after as string) ? after as string : refuse(at, `another process (${others.join(', ') || 'there is none'})`, after)),
    run: entry(undefined, callable())
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
