import { parse } from '@lukeed/ms'
import { INVALID_OPTION } from '../errors.js'

/** Turns an option's value into the value that the code uses, or throws an error that names the option. */
export type Rule<Result> = (value: unknown, path: string) => Result

/** An option's default and its rule. Without a default (`undefined`) the rule decides whether the option may be missing. */
export interface Entry<Result> { fallback: unknown, rule: Rule<Result> }

/** The options of one function or group. */
export type Table<Values> = { [Name in keyof Values]-?: Entry<Values[Name]> }

/** How errors name the options. */
export interface Place {
  /** Begins an option's path: `'captcha.'`. */
  prefix: string
  /** The function that takes the options, such as `'bcrypt()'`, for errors about an unknown one. */
  owner?: string
  /** A correct call, for errors about a value that is not an object. */
  example?: string
}

export function entry<Result> (fallback: unknown, rule: Rule<Result>): Entry<Result> {
  return { fallback, rule }
}

/**
 * Checks options against a table and fills in the defaults. The given object is neither changed nor kept.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function readTable<Values extends object> (table: Table<Values>, given: unknown, place: Place): Values {
  const group = place.owner ?? (place.prefix.slice(0, -1) || 'options')
  if (!isObject(given)) return place.example === undefined ? refuse(group, 'an object', given) : refuseCall(group, place.example)
  refuseUnknown(table, given, place)
  const values = Object.entries<Entry<unknown>>(table).map(([name, { fallback, rule }]) => {
    const value = given[name]
    return [name, rule(value === undefined ? fallback : value, place.prefix + name)]
  })
  return Object.fromEntries(values) as Values
}

// The value may be the secret itself, so it is not shown.
function refuseCall (group: string, example: string): never {
  throw new INVALID_OPTION(`${group} must be made with an object: ${example}`)
}

// A misspelled option would leave a default in force that nobody has chosen.
function refuseUnknown (table: object, given: object, { prefix, owner }: Place): void {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(table, name))
  if (unknown === undefined) return
  const named = owner === undefined ? `"${prefix}${unknown}"` : `"${unknown}" of ${owner}`
  throw new INVALID_OPTION(`Unknown option ${named}; known options: ${Object.keys(table).join(', ')}`)
}

const NO_URL = { protocol: '', hostname: '', username: '', password: '' }

export function refuse (path: string, expected: string, value: unknown, shown = show(value)): never {
  throw new INVALID_OPTION(`${path} must be ${expected}, got ${shown}`)
}

/** The error of a URL that a driver cannot read. The driver's own may have the URL, and its password. */
export function unreadableUrl (path: string): Error {
  return new INVALID_OPTION(`${path} cannot be read: special characters of a password must be percent-encoded, such as %23 for #`)
}

// Handles and functions may hold secrets, so only plain values are shown.
function show (value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' && value !== null ? showObject(value) : String(value)
}

function showObject (value: object): string {
  return isPlainObject(value) ? 'an object' : `an instance of ${value.constructor?.name || 'a class'}`
}

/** A duration in milliseconds, from `'5m'`, `'15 minutes'` or a number of milliseconds. */
export function duration ({ min, max = 3650 * 86_400_000 }: { min: number, max?: number }): Rule<number> {
  return (value, path) => {
    const ms = typeof value === 'string' ? parse(value) : value
    if (typeof ms === 'number' && Number.isFinite(ms) && ms >= min && ms <= max) return Math.round(ms)
    return refuse(path, `a duration of ${ms !== undefined && typeof ms === 'number' && ms > max ? `at most ${seconds(max)}` : `at least ${seconds(min)}`}`, value, typeof value === 'number' ? `${value} (milliseconds)` : show(value))
  }
}

function seconds (ms: number): string {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`
}

export function integer ({ min, max }: { min: number, max: number }): Rule<number> {
  return (value, path) => Number.isInteger(value) && isWithin(value as number, { min, max })
    ? value as number
    : refuse(path, `an integer from ${min} to ${max}`, value)
}

export function isWithin (value: number, { min, max }: { min: number, max: number }): boolean {
  return value >= min && value <= max
}

export function oneOf<Value extends string> (...values: Value[]): Rule<Value> {
  return (value, path) => values.includes(value as Value) ? value as Value : refuse(path, values.map((name) => `'${name}'`).join(' or '), value)
}

export function text (expected: string, pattern: RegExp): Rule<string> {
  return (value, path) => typeof value === 'string' && pattern.test(value) ? value : refuse(path, expected, value)
}

/** The name of a scope: RFC 6749 3.3. */
export const scope = text('a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 3.3)', /^[!#-[\]-~]+$/)

/** An address that secrets are sent to: https, or http on this machine. */
export function httpsUrl (value: unknown, path: string): string {
  const { protocol, hostname, username, password } = typeof value === 'string' && URL.canParse(value) ? new URL(value) : NO_URL
  // fetch refuses credentials in a URL. They are not shown.
  if (username !== '' || password !== '') return refuse(path, 'an https URL', value, 'one with credentials')
  const isLocal = protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  return protocol === 'https:' || isLocal ? value as string : refuse(path, 'an https URL', value, typeof value === 'string' ? 'another string' : undefined)
}

export function boolean (): Rule<boolean> {
  return (value, path) => typeof value === 'boolean' ? value : refuse(path, 'true or false', value)
}

export function callable<Fn> (): Rule<Fn> {
  return (value, path) => typeof value === 'function' ? value as Fn : refuse(path, 'a function', value)
}

export function list<Item> (item: Rule<Item>, { min }: { min: number }): Rule<readonly Item[]> {
  return (value, path) => {
    if (!Array.isArray(value) || value.length < min) return refuse(path, min === 0 ? 'an array' : 'a non-empty array', value)
    return Object.freeze(value.map((entry, index) => item(entry, `${path}[${index}]`)))
  }
}

/** `null`, or a value that the rule accepts. */
export function nullable<Result> (rule: Rule<Result>): Rule<Result | null> {
  return (value, path) => value === null ? null : rule(value, path)
}

export function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether everything in an object is its own. An instance of a class such as `Map` would pass for an empty one. */
export function isPlainObject (value: unknown): value is Record<string, unknown> {
  return isObject(value) && isLast(Object.getPrototypeOf(value))
}

// `Object.prototype` itself may be that of another realm, as in Jest.
function isLast (prototype: object | null): boolean {
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** A value that passes one of the tests, unchanged. A string in its place may be a secret, so it is not shown. */
export function handle<Handle> (expected: string, ...tests: ((value: unknown) => boolean)[]): Rule<Handle> {
  return (value, path) => {
    if (tests.some((test) => test(value))) return value as Handle
    return refuse(path, expected, value, typeof value === 'string' ? 'a string' : show(value))
  }
}

/** An object with all of these methods. */
export function withMethods<Port> (expected: string, methods: (keyof Port & string)[]): Rule<Port> {
  return handle<Port>(expected, hasMethods(...methods))
}

/** Whether a value is an object with all of these methods. */
export function hasMethods (...methods: string[]): (value: unknown) => boolean {
  return (value) => methods.every((name) => typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function')
}
