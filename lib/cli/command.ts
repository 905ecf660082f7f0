import { parseArgs } from 'node:util'
import { INVALID_OPTION } from '../errors.js'
import type { Io } from './io.js'

export interface Flag {
  type: 'boolean' | 'string'
  /** Whether the flag may be repeated; its values are then a list. */
  multiple?: true
  /** The value's name in the help: `<port>`. */
  value?: string
  about: string
}

export type Flags = Readonly<Record<string, Flag>>
export type FlagValues<Given extends Flags> = { [Name in keyof Given]?: FlagValue<Given[Name]> }
type FlagValue<Given extends Flag> = Given['type'] extends 'boolean' ? boolean : Given extends { multiple: true } ? string[] : string

export interface Definition<Given extends Flags> {
  name: string
  /** The names of the arguments: `['username']`. */
  takes?: readonly string[]
  summary: string
  /** More lines for the help. */
  details?: readonly string[]
  flags: Given
  /** Resolves to the exit code. */
  run (io: Io, values: FlagValues<Given>, ...args: string[]): Promise<number>
}

export interface Command {
  name: string
  summary: string
  help: string
  run (io: Io, args: string[]): Promise<number>
}

const HELP = { help: { type: 'boolean', short: 'h', about: 'print this help' } } as const

export function defineCommand<const Given extends Flags> (definition: Definition<Given>): Command {
  const help = describe(definition)
  return {
    name: definition.name,
    summary: definition.summary,
    help,
    async run (io, args) {
      const { help: wantsHelp, values, positionals } = parse(args, definition)
      if (wantsHelp) io.stdout.write(help)
      return wantsHelp ? 0 : await definition.run(io, values, ...readArguments(positionals, definition))
    }
  }
}

function parse<Given extends Flags> (args: string[], { name, flags }: Definition<Given>) {
  try {
    const { values: { help, ...values }, positionals } = parseArgs({ args, options: { ...flags, ...HELP } as Flags, allowPositionals: true })
    return { help: help === true, values: values as FlagValues<Given>, positionals }
  } catch (error) {
    throw new INVALID_OPTION(explain(error as Error & { code?: string }, name))
  }
}

// Only names of flags are repeated. A value may be a secret that was typed there by mistake.
function explain ({ code, message }: Error & { code?: string }, name: string): string {
  if (code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return message.split('\n')[0] as string
  const flag = /'(--?[^'=\s]*)/.exec(message)![1] as string
  if (flag.startsWith('--pass')) return `${flag} is refused: every user of this machine can see the arguments of a command; the password is read from the terminal or from stdin`
  return `Unknown option ${flag} of ${name}`
}

function readArguments (positionals: string[], { name, takes = [] }: Definition<Flags>): string[] {
  if (positionals.length === takes.length) return positionals
  const expected = takes.length === 0 ? 'no argument' : `one argument, the ${takes.join(', the ')}`
  const hint = takes.length > 0 && positionals.length > takes.length ? '; a password is never an argument: it is read from the terminal or from stdin' : ''
  throw new INVALID_OPTION(`${name} takes ${expected}, got ${positionals.length}${hint}`)
}

function describe ({ name, takes = [], summary, details = [], flags }: Definition<Flags>): string {
  const usage = ['Usage: fastify-token-auth', name, ...takes.map((argument) => `<${argument}>`), '[options]'].join(' ')
  const options = Object.entries({ ...flags, ...HELP as Flags }).map(([flag, { value, about }]) => [`--${flag}${value === undefined ? '' : ` ${value}`}`, about] as const)
  return [usage, '', summary, ...details, '', 'Options:', ...columns(options)].join('\n') + '\n'
}

/** Two aligned columns, for the help. */
export function columns (rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}
