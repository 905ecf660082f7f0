import { INSUFFICIENT_SCOPE } from '../errors.js'
import type { TokenRecord } from '../ports.js'

/** The error of a token that lacks a scope. A token with scopes passes only where scopes are named, and it must have all of them. */
export function missingScope ({ scopes }: Pick<TokenRecord, 'scopes'>, wanted: readonly string[] | 'any'): Error | undefined {
  if (scopes === null || wanted === 'any') return undefined
  if (wanted.length === 0) return new INSUFFICIENT_SCOPE()
  return wanted.every((scope) => scopes.includes(scope)) ? undefined : Object.assign(new INSUFFICIENT_SCOPE(), { scope: wanted.join(' ') })
}
