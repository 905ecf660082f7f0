import type { TokenAuthError } from '../errors.js'

/** Whether it is an error of this plugin. By code, not by class: another copy of the package may have thrown it. */
export function isOwnError (error: unknown): error is TokenAuthError {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('FST_TOKEN_AUTH_')
}
