import { parse } from '@lukeed/ms'
import { INVALID_OPTION } from '../errors.js'

/** Turns what the host wrote into what the code uses, or throws an error that names the option. */
export type Rule<Result> = (value: unknown, path: string) => Result

const NO_URL = { protocol: '', hostname: '', username: '', password: '' }

export function refuse (path: string, expected: string, value: unknown, shown = show(value)): never {
  throw new INVALID_OPTION(`${path} must be ${expected}, got ${shown}`)
}

// Handles and functions may hold secrets, so only plain values are shown.
function show (value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return String(value)
}

/** A duration in milliseconds, from `'5m'`, `'15 minutes'` or a number of milliseconds. */
export function duration ({ min, max = 3650 * 86_400_000 }: { min: number, max?: number }): Rule<number> {
  return (value, path) => {
    const ms = typeof value === 'string' ? parse(value) : value
    if (typeof ms === 'number' && Number.isFinite(ms) && ms >= min && ms <= max) return Math.round(ms)
    return refuse(path, `a duration of ${ms !== undefined && typeof ms === 'number' && ms > max ? `at most ${seconds(max)}` : `at least ${seconds(min)}`}`, value)
  }
}

function seconds (ms: number): string {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`
}

export function integer ({ min, max }: { min: number, max: number }): Rule<number> {
  return (value, path) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max
    ? value as number
    : refuse(path, `an integer from ${min} to ${max}`, value)
}

export function oneOf<Value extends string> (...values: Value[]): Rule<Value> {
  return (value, path) => values.includes(value as Value) ? value as Value : refuse(path, values.map((name) => `'${name}'`).join(' or '), value)
}

export function text (expected: string, pattern: RegExp): Rule<string> {
  return (value, path) => typeof value === 'string' && pattern.test(value) ? value : refuse(path, expected, value)
}

/** Where something secret is sent: https, unencrypted only where nobody can listen. */
export function httpsUrl (value: unknown, path: string): string {
  const { protocol, hostname, username, password } = typeof value === 'string' && URL.canParse(value) ? new URL(value) : NO_URL
  // fetch refuses them, and they are not ours to show.
  if (username !== '' || password !== '') return refuse(path, 'an https URL', value, 'one with a name or a password in it')
  const isLocal = protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  return protocol === 'https:' || isLocal ? value as string : refuse(path, 'an https URL', value, typeof value === 'string' ? 'another text' : undefined)
}

export function boolean (): Rule<boolean> {
  return (value, path) => typeof value === 'boolean' ? value : refuse(path, 'true or false', value)
}

export function callable<Fn> (): Rule<Fn> {
  return (value, path) => typeof value === 'function' ? value as Fn : refuse(path, 'a function', value)
}

export function list<Item> (item: Rule<Item>, { min }: { min: number }): Rule<readonly Item[]> {
  return (value, path) => {
    if (!Array.isArray(value) || value.length < min) return refuse(path, min === 0 ? 'an array' : 'an array that is not empty', value)
    return Object.freeze(value.map((entry, index) => item(entry, `${path}[${index}]`)))
  }
}

/** `null` or what the rule says. */
export function nullable<Result> (rule: Rule<Result>): Rule<Result | null> {
  return (value, path) => value === null ? null : rule(value, path)
}

export function isPlainObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What passes one of the tests; the value itself is used. A text in its place may be a secret, so it is not shown. */
export function handle<Handle> (expected: string, ...tests: ((value: unknown) => boolean)[]): Rule<Handle> {
  return (value, path) => {
    if (tests.some((test) => test(value))) return value as Handle
    return refuse(path, expected, value, typeof value === 'string' ? 'a string' : show(value))
  }
}

/** Refuses an address that is there without a value, as from an unset variable: the driver would go to its default, this machine. */
export function refuseMissing (group: object, name: string, path: string): void {
  const value = (group as Record<string, unknown>)[name]
  if (Object.hasOwn(group, name) && (typeof value !== 'string' || value === '')) refuse(`${path}.${name}`, 'a URL', value)
}

/** An object with all of the methods. */
export function withMethods<Port> (expected: string, methods: (keyof Port & string)[]): Rule<Port> {
  return handle<Port>(expected, hasMethods(...methods))
}

/** Whether a value is an object with all of the methods. */
export function hasMethods (...methods: string[]): (value: unknown) => boolean {
  return (value) => methods.every((name) => typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function')
}
