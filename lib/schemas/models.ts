import { Type } from '@sinclair/typebox'
import type { TObject } from '@sinclair/typebox'

/** Text without NUL, lone surrogates and U+FFFD: a database refuses or changes these, so two texts could become one. */
const CLEAN_TEXT = '^[^\\u0000\\uD800-\\uDFFF\\uFFFD]*$'

const STRICT = { additionalProperties: false }

// Documentation pages send the examples; without them they make up random text from the pattern.
const password = (description: string, example: string) => Type.String({ minLength: 1, maxLength: 1024, pattern: CLEAN_TEXT, description, examples: [example] })

const credentials = {
  username: Type.String({ minLength: 1, maxLength: 254, pattern: CLEAN_TEXT, examples: ['demo'] }),
  password: password('Compared exactly, including spaces', 'correct horse battery')
}

const captchaToken = Type.String({ minLength: 1, maxLength: 8192, pattern: CLEAN_TEXT, description: 'The answer from the captcha widget', examples: ['10000000-aaaa-bbbb-cccc-000000000001'] })

/** The body of a login, by when a captcha is needed. */
export const LOGIN_BODIES = {
  never: Type.Object(credentials, STRICT),
  always: Type.Object({ ...credentials, captchaToken }, STRICT),
  'after-failures': Type.Object({ ...credentials, captchaToken: Type.Optional(captchaToken) }, STRICT)
}

export const ChangePasswordBody = Type.Object({
  currentPassword: password('The current password', 'correct horse battery'),
  newPassword: password('The new password', 'staple battery horse')
}, STRICT)

export const Instant = (description: string) => Type.String({ format: 'date-time', description })

/** An id as PostgreSQL's driver returns it: an integer, or text for `bigint` and `uuid`. */
const Id = Type.Unsafe<string | number>({ type: ['string', 'integer'], description: 'The user\'s id' })

export const User = Type.Object({
  id: Id,
  username: Type.String()
}, { title: 'TokenAuthUser', additionalProperties: true, description: 'The user, with the additional columns that the host has selected' })

export const Grant = Type.Object({
  token: Type.String({ description: 'Returned only here. Send it as `Authorization: Bearer <token>`' }),
  expiresAt: Instant('When the token expires at the latest'),
  user: User
}, { title: 'TokenAuthGrant', description: 'A new session' })

export const SessionEntry = Type.Object({
  id: Type.String({ format: 'uuid' }),
  createdAt: Instant('When the session started'),
  lastUsedAt: Instant('When the session was last used, to about a minute'),
  expiresAt: Instant('When the session ends at the latest'),
  ip: Type.Union([Type.String(), Type.Null()], { description: 'The client address at the login' }),
  userAgent: Type.Union([Type.String(), Type.Null()]),
  label: Type.Union([Type.String(), Type.Null()], { description: 'The name of a token that the application has issued' }),
  scopes: Type.Union([Type.Array(Type.String()), Type.Null()], { description: 'null: the token may do everything that its user may' }),
  current: Type.Boolean({ description: 'Whether the request was made with this session' })
}, { title: 'TokenAuthSession' })

export const NoContent = Type.Null({ description: 'Success, without a body' })

const retryAfter = { 'Retry-After': { type: 'integer', minimum: 1, description: 'Seconds to wait' } }
const challenge = { 'WWW-Authenticate': { type: 'string', description: 'RFC 6750; with error="invalid_token" if a token was sent' } }

/** Fastify's own shape of an error. */
function errorReply (description: string, headers: object): TObject {
  return Type.Object({
    statusCode: Type.Integer(),
    code: Type.String({ description: 'FST_TOKEN_AUTH_*, or Fastify\'s own; see docs/errors.md' }),
    error: Type.String(),
    message: Type.String()
  }, { title: 'TokenAuthError', description, headers })
}

const ERRORS = {
  400: errorReply('Invalid input', {}),
  401: errorReply('Missing or invalid token, or wrong credentials', challenge),
  403: errorReply('Not allowed', {}),
  404: errorReply('No such session', {}),
  413: errorReply('The body is too large', {}),
  415: errorReply('The body is not application/json', {}),
  429: errorReply('Too many attempts', retryAfter),
  503: errorReply('Service unavailable', retryAfter)
}

/** The error replies of a route, by status. */
export function errorReplies<Status extends keyof typeof ERRORS> (...statuses: Status[]): Pick<typeof ERRORS, Status> {
  return Object.fromEntries(statuses.map((status) => [status, ERRORS[status]])) as Pick<typeof ERRORS, Status>
}
