import createError from '@fastify/error'

/** An error of this plugin. */
export interface TokenAuthError extends Error {
  /** `FST_TOKEN_AUTH_*` */
  code: string
  statusCode: number
}

/** The class of an error: `error instanceof errors.INVALID_TOKEN`. `Values` are the parts of its message. */
export interface TokenAuthErrorClass<Values extends unknown[] = []> {
  new (...values: [...Values, ErrorOptions?]): TokenAuthError
  readonly prototype: TokenAuthError
}

// Our own type, because not every module resolution finds the one of @fastify/error.
function define<Values extends unknown[] = []> (code: string, message: string, statusCode: number, base?: ErrorConstructor): TokenAuthErrorClass<Values> {
  return createError(code, message, statusCode, base) as unknown as TokenAuthErrorClass<Values>
}

/**
 * The one register of errors. Export name, code and heading in docs/errors.md are the same word.
 * 4xx: a client error. 503: temporary, the client may retry. 500: a configuration mistake, thrown at start.
 */

export const UNAUTHENTICATED = define('FST_TOKEN_AUTH_UNAUTHENTICATED', 'Authentication required', 401)
export const INVALID_TOKEN = define('FST_TOKEN_AUTH_INVALID_TOKEN', 'The token is invalid, expired or revoked', 401)
export const INVALID_CREDENTIALS = define('FST_TOKEN_AUTH_INVALID_CREDENTIALS', 'Wrong username or password', 401)
export const MALFORMED_AUTHORIZATION = define('FST_TOKEN_AUTH_MALFORMED_AUTHORIZATION', 'More than one Authorization header', 400)
export const INVALID_INPUT = define<[string]>('FST_TOKEN_AUTH_INVALID_INPUT', '%s', 400)
export const WRONG_PASSWORD = define('FST_TOKEN_AUTH_WRONG_PASSWORD', 'The current password is wrong', 403)
export const CAPTCHA_REFUSED = define('FST_TOKEN_AUTH_CAPTCHA_REFUSED', 'The captcha answer was refused', 403)
export const CAPTCHA_REQUIRED = define('FST_TOKEN_AUTH_CAPTCHA_REQUIRED', 'A captcha is required', 403)
export const INSUFFICIENT_SCOPE = define('FST_TOKEN_AUTH_INSUFFICIENT_SCOPE', 'The token lacks a required scope', 403)
export const SESSION_NOT_FOUND = define('FST_TOKEN_AUTH_SESSION_NOT_FOUND', 'No such session', 404)
export const RATE_LIMITED = define('FST_TOKEN_AUTH_RATE_LIMITED', 'Too many attempts, try again later', 429)

export const PASSWORD_TOO_SHORT = define<[number]>('FST_TOKEN_AUTH_PASSWORD_TOO_SHORT', 'The new password must have at least %s characters', 400)
export const PASSWORD_TOO_LONG = define<[number]>('FST_TOKEN_AUTH_PASSWORD_TOO_LONG', 'The new password must have at most %s characters', 400)
export const PASSWORD_MALFORMED = define('FST_TOKEN_AUTH_PASSWORD_MALFORMED', 'The new password contains a NUL, a lone surrogate or U+FFFD', 400)
export const PASSWORD_HAS_USERNAME = define('FST_TOKEN_AUTH_PASSWORD_HAS_USERNAME', 'The new password must not be the username or a part of it, and must not contain it', 400)
export const PASSWORD_HAS_CONTEXT_WORD = define('FST_TOKEN_AUTH_PASSWORD_HAS_CONTEXT_WORD', 'The new password must not contain the name of this service or a similar word', 400)
export const PASSWORD_UNCHANGED = define('FST_TOKEN_AUTH_PASSWORD_UNCHANGED', 'The new password equals the current one', 400)
export const PASSWORD_COMMON = define('FST_TOKEN_AUTH_PASSWORD_COMMON', 'The new password is too common', 400)
export const PASSWORD_BREACHED = define('FST_TOKEN_AUTH_PASSWORD_BREACHED', 'The new password has appeared in a data breach', 400)
export const PASSWORD_REFUSED = define<[string]>('FST_TOKEN_AUTH_PASSWORD_REFUSED', '%s', 400)

export const UNAVAILABLE = define('FST_TOKEN_AUTH_UNAVAILABLE', 'The service is temporarily unavailable, try again', 503)
export const OVERLOADED = define('FST_TOKEN_AUTH_OVERLOADED', 'The service is overloaded, try again', 503)
export const CAPTCHA_UNAVAILABLE = define('FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', 'The captcha cannot be checked at the moment, try again', 503)
export const REVOCATION_PENDING = define('FST_TOKEN_AUTH_REVOCATION_PENDING', 'The revocation is stored, but not every server has confirmed it yet: try again', 503)
export const PASSWORD_CHANGE_PENDING = define('FST_TOKEN_AUTH_PASSWORD_CHANGE_PENDING', 'The password was changed, but not every server has confirmed that earlier sessions have ended: log in with the new password', 503)

export const USER_NOT_FOUND = define('FST_TOKEN_AUTH_USER_NOT_FOUND', 'No such user', 404)
export const INVALID_USERNAME = define('FST_TOKEN_AUTH_INVALID_USERNAME', 'A username must have 1 to 254 characters, not only spaces, and no NUL, lone surrogate or U+FFFD', 400)
export const USERNAME_TAKEN = define('FST_TOKEN_AUTH_USERNAME_TAKEN', 'The username is taken', 409)
export const UNSUPPORTED = define<[string]>('FST_TOKEN_AUTH_UNSUPPORTED', '%s', 500)

export const INVALID_OPTION = define<[string]>('FST_TOKEN_AUTH_INVALID_OPTION', '%s', 500, TypeError)
export const DECORATOR_TAKEN = define<[string]>('FST_TOKEN_AUTH_DECORATOR_TAKEN', 'The decorator "%s" exists already: fastify-token-auth is registered twice, or another plugin such as @fastify/jwt has added it. Rename it with the option "decorators"', 500)
export const NOT_REGISTERED = define<[string]>('FST_TOKEN_AUTH_NOT_REGISTERED', '%s', 500)
export const DATABASE_UNREACHABLE = define<[string]>('FST_TOKEN_AUTH_DATABASE_UNREACHABLE', '%s', 500)
export const DATABASE_REFUSED = define<[string]>('FST_TOKEN_AUTH_DATABASE_REFUSED', 'The database refuses the connection: %s. Check the option "database"', 500)
export const STANDBY_DATABASE = define('FST_TOKEN_AUTH_STANDBY_DATABASE', 'The database is a standby, which may not have received recent logouts: use the address of the primary', 500)
export const MISSING_TABLES = define<[string]>('FST_TOKEN_AUTH_MISSING_TABLES', '%s', 500)
export const COMMAND_FAILED = define<[string]>('FST_TOKEN_AUTH_COMMAND_FAILED', '%s', 500)
