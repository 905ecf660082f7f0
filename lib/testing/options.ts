import { INVALID_OPTION } from '../errors.js'
import { isPlainObject, refuse } from '../options/rules.js'
import type { Rule } from '../options/rules.js'

/** One rule for each option. It is shown `undefined` too, and refuses it where there is no default. */
export type Rules<Options> = { [Name in keyof Options]-?: Rule<Options[Name]> }

/**
 * Checks the options of one of the kit's functions before anything runs; `group` is the option that they are a part of.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, a `TypeError` that names the option, what it may be and what it is
 */
export function readOptions<Options> (given: unknown, rules: Rules<Options>, group = ''): Options {
  if (!isPlainObject(given)) refuse(group === '' ? 'options' : group, 'an object', given)
  const at = group === '' ? '' : `${group}.`
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(rules, name)) throw new INVALID_OPTION(`Unknown option "${at}${name}"; there are: ${Object.keys(rules).join(', ')}`)
  }
  const entries = Object.entries(rules) as [string, Rule<unknown>][]
  return Object.fromEntries(entries.map(([name, rule]) => [name, rule(given[name], at + name)])) as Options
}

/** The rule for an option that may be left out. */
export function optional<Result> (fallback: Result, rule: Rule<Result>): Rule<Result> {
  return (value, path) => value === undefined ? fallback : rule(value, path)
}
