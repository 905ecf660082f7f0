import { INVALID_OPTION } from '../errors.js'
import { boolean, isPlainObject, list, refuse, scope } from '../options/rules.js'
import type { Rule } from '../options/rules.js'
import type { AuthenticateVariant } from '../../types/fastify.js'

const names = list(scope, { min: 1 })
const scopes: Rule<readonly string[] | 'any'> = (value, path) => value === 'any' ? value : names(value, path)

const RULES = {
  optional: boolean(),
  fresh: boolean(),
  scopes
}

/** Checks the argument of `authenticate.with()`: a typo must not leave a route less protected than it looks. */
export function readVariant (options: AuthenticateVariant): AuthenticateVariant {
  if (!isPlainObject(options)) refuse('authenticate.with()', 'called with an object such as { fresh: true }', options)
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(RULES, name)) throw new INVALID_OPTION(`Unknown option "${name}" of authenticate.with(); known options: ${Object.keys(RULES).join(', ')}`)
    RULES[name as keyof typeof RULES](value, name)
  }
  return options
}
