import { Type } from '@sinclair/typebox'

/** Without NUL, lone surrogates and U+FFFD: a database refuses or changes them, so two texts could become one. */
export const CLEAN_TEXT = '^[^\\u0000\\uD800-\\uDFFF\\uFFFD]*$'

export const Instant = (description: string) => Type.String({ format: 'date-time', description })

/** Ids as SQL has them: integers, or text for bigint and uuid. */
export const Id = Type.Unsafe<string | number>({ type: ['string', 'integer'], description: 'The user\'s id' })

export const User = Type.Object({
  id: Id,
  username: Type.String()
}, { additionalProperties: true, description: 'The user, with the columns that the host selects' })

export const Grant = Type.Object({
  token: Type.String({ description: 'Shown this once. Send it as `Authorization: Bearer <token>`' }),
  expiresAt: Instant('When the token ends at the latest'),
  user: User
}, { description: 'A new session' })

export const SessionEntry = Type.Object({
  id: Type.String({ format: 'uuid' }),
  createdAt: Instant('When the session began'),
  lastUsedAt: Instant('When it was last used, within a minute or so'),
  expiresAt: Instant('When it ends at the latest'),
  ip: Type.Union([Type.String(), Type.Null()], { description: 'The address that it began at' }),
  userAgent: Type.Union([Type.String(), Type.Null()]),
  current: Type.Boolean({ description: 'Whether it is the session of this request' })
})

export const NoContent = Type.Null({ description: 'Done; there is no body' })
