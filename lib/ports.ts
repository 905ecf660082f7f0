import type { AuthenticatedUser, Session, UserId } from '../types/user.js'

export type * from './cache-ports.js'
export type * from '../types/guard-ports.js'

/** Milliseconds since 1970. Injected so that tests move a clock instead of sleeping. */
export type Now = () => number

/** Cryptographically strong random bytes; `node:crypto`'s `randomBytes` by default. */
export type RandomBytes = (size: number) => Buffer

/** The little a store or a service needs of a logger; pino's methods fit. */
export interface Logger {
  info (fields: object, message: string): void
  warn (fields: object, message: string): void
  error (fields: object, message: string): void
}

/** SHA-256 of a whole token, base64url (43 characters): the only form of it that is kept. */
export type Digest = string

/** A live token as SQL tells it and as the cache repeats it. Instants are milliseconds since 1970. */
export interface TokenRecord {
  sessionId: string
  user: AuthenticatedUser
  issuedAtMs: number
  expiresAtMs: number
  /** When the session ends unless it is used before; `null` without an idle limit. */
  idleAtMs: number | null
  scopes: readonly string[] | null
}

/** A record, and the instant by the database's clock at which it was true. */
export interface FoundToken {
  record: TokenRecord
  asOfMs: number
}

/** The token, or all tokens of the user, that a call was to end. */
export type RevocationSubject = { digest: Digest } | { userId: UserId }

/** Cached entries that are void, in a page of them. */
export interface StalePage {
  /** Tokens that have ended. */
  revoked: Digest[]
  /** Live tokens whose user was refreshed: the entry may be out of date. */
  refreshed: Digest[]
  /** Where the next page begins; `null` after the last. */
  next: string | null
}

/** Where a new token came from and what it may do. */
export interface TokenRequest {
  digest: Digest
  ttlMs: number
  ip: string | null
  userAgent: string | null
  label: string | null
  scopes: readonly string[] | null
}

/** A token that was written, and the older ones that had to go. */
export interface IssuedToken {
  sessionId: string
  user: AuthenticatedUser
  createdAt: Date
  expiresAt: Date
  /** How many tokens this call ended. */
  ended: number
  /** Those that still want their tombstone, also of other calls where this one speaks for all. */
  revoked: Digest[]
}

export interface Credentials {
  id: UserId
  username: string
  passwordHash: string | null
  active: boolean
}

export type RevokeReason =
  | 'logout' | 'logout_all' | 'session_deleted' | 'password_changed' | 'deactivated'
  | 'user_deleted' | 'revoked' | 'too_many'

/** The durable side: reading tokens. */
export interface TokenReader {
  find (digest: Digest): Promise<FoundToken | null>
  list (userId: UserId): Promise<Session[]>
  /** Tokens whose entry in some server's cache may be void, the latest first; `after` is the `next` of the page before. */
  listStale (after: string | null, limit: number): Promise<StalePage>
  /** Writes last uses; `agesMs[i]` is how long ago `sessionIds[i]` was used. */
  touch (sessionIds: string[], agesMs: number[]): Promise<void>
  /** Whether a session of this user began at this address (IPv6: its /64) within the last 30 days. `false` for unknown names. */
  isKnownAddress (username: string, ip: string): Promise<boolean>
  /** Deletes at most `limit` rows that ended over `retentionMs` ago; resolves to their number. */
  prune (retentionMs: number, limit: number): Promise<number>
}

/** The durable side: every transaction that issues or ends tokens. Resolves after the commit. */
export interface SessionWriter {
  /** `null`: the password changed, or the user was deactivated, since the hash was verified. */
  login (userId: UserId, verifiedHash: string, token: TokenRequest): Promise<IssuedToken | null>
  /** `null`: no such active user. */
  issue (userId: UserId, token: TokenRequest): Promise<IssuedToken | null>
  /**
   * The new token has the label and the scopes of the session. `null`: the hash is no longer the verified one.
   * @throws `FST_TOKEN_AUTH_INVALID_TOKEN` if the session ended meanwhile.
   */
  changePassword (change: PasswordChange): Promise<IssuedToken | null>
}

export interface PasswordChange {
  userId: UserId
  sessionId: string
  verifiedHash: string
  newHash: string
  token: TokenRequest
}

/** What a revocation did. `digests` still want their tombstone, also those of an earlier, interrupted try. */
export interface Revoked {
  /** Whether the thing to revoke exists. */
  found: boolean
  /** How many tokens this call ended; none where an earlier one did. */
  ended: number
  userId: UserId | null
  digests: Digest[]
}

/** The durable side: ending tokens. Resolves after the commit. */
export interface RevocationWriter {
  token (digest: Digest, reason: RevokeReason): Promise<Revoked & { reason: RevokeReason | null, sessionId: string | null }>
  session (userId: UserId, sessionId: string, reason: RevokeReason): Promise<Revoked>
  user (userId: UserId, reason: RevokeReason): Promise<Revoked>
  setPassword (userId: UserId, hash: string): Promise<Revoked>
  setActive (userId: UserId, active: boolean): Promise<Revoked>
  deleteUser (userId: UserId): Promise<Revoked>
  /**
   * What the logout-all that ended this token ended with it, for a client that repeats the call; `null`: it was ended by nothing
   * of the kind. Ends nothing.
   */
  endedTogether (digest: Digest): Promise<{ userId: UserId, digests: Digest[] } | null>
  /**
   * What was ended of the subject within the last `sinceMs`. Waits for transactions that hold its rows, so the answer is final for
   * them. Ends nothing.
   */
  findEnded (subject: RevocationSubject, sinceMs: number): Promise<Digest[]>
  /** Declares every cached copy of the user's data void, and returns whose: of live tokens, and of those that have ended lately. */
  refresh (userId: UserId): Promise<Digest[]>
}

export interface UserStore {
  findByUsername (username: string): Promise<Credentials | null>
  findById (userId: UserId): Promise<Credentials | null>
  /** Replaces the hash by another of the same password; `false` if it has changed meanwhile. Ends no session. */
  rehash (userId: UserId, from: string, to: string): Promise<boolean>
  create (user: { username: string, passwordHash: string | null, fields: Record<string, unknown> }): Promise<AuthenticatedUser>
}
