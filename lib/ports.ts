import type { Digest } from '../types/cache.js'
import type { RevokeReason } from '../types/events.js'
import type { AuthenticatedUser, Session, UserId } from '../types/user.js'

/** The part of a logger that stores and services need; pino is compatible. */
export interface Logger {
  info (fields: object, message: string): void
  warn (fields: object, message: string): void
  error (fields: object, message: string): void
}

/** A live token, as read from SQL and repeated by the cache. Times are milliseconds since 1970. */
export interface TokenRecord {
  sessionId: string
  user: AuthenticatedUser
  issuedAtMs: number
  expiresAtMs: number
  /** When the session ends unless it is used before; `null` without an idle limit. */
  idleAtMs: number | null
  scopes: readonly string[] | null
}

/** A record, and the time at which it was valid, by the database's clock. */
export interface FoundToken {
  record: TokenRecord
  asOfMs: number
}

/** The token, or all tokens of the user, that a call should end. */
export type RevocationSubject = { digest: Digest } | { userId: UserId }

/** Is notified of calls whose outcome is unknown. The cache implements it. */
export interface OutcomeWatcher {
  /** The cache is not believed about the subject until the returned function is called. */
  doubt (subject: RevocationSubject): () => void
  /** These tokens have ended. */
  ended (digests: readonly Digest[]): Promise<unknown>
  /** More outcomes are unknown than can be followed. */
  overflowed (): void
}

/** A page of tokens whose cached entries may be out of date. */
export interface StalePage {
  /** Revoked tokens. */
  revoked: Digest[]
  /** Live tokens whose user was refreshed: the entry may be out of date. */
  refreshed: Digest[]
}

/** The origin of a new token, and what it may do. */
export interface TokenRequest {
  digest: Digest
  ttlMs: number
  ip: string | null
  userAgent: string | null
  label: string | null
  scopes: readonly string[] | null
}

/** Tokens whose end is committed. */
export interface EndedTokens {
  /** How many this call ended; 0 if an earlier call did. */
  count: number
  /** Tokens that need a tombstone, also those of an earlier call that was interrupted. */
  digests: Digest[]
}

/** A token that was written, and the older ones that it displaced. */
export interface IssuedToken {
  sessionId: string
  user: AuthenticatedUser
  createdAt: Date
  expiresAt: Date
  displaced: EndedTokens
}

export interface Credentials {
  id: UserId
  username: string
  passwordHash: string | null
  active: boolean
}

/** The durable side: reading tokens. */
export interface TokenStore {
  find (digest: Digest): Promise<FoundToken | null>
  list (userId: UserId): Promise<Session[]>
  /** The token of a session, whether it has ended or not; `null` if there is none. */
  digestOf (sessionId: string): Promise<Digest | null>
  /** Users with tokens that live or that a cache may still hold, in the order of their ids; `after` is the last one of the previous page. */
  listOwners (after: UserId | null, limit: number): Promise<UserId[]>
  /**
   * Tokens whose entry in some server's cache may be invalid, in pages of at most `limit`, the latest first. None is missed that is dated again
   * between two pages; those of the last 30 s may be listed twice.
   */
  listStale (limit: number): AsyncGenerator<StalePage, void>
  /** Writes last uses; `agesMs[i]` is how long ago `sessionIds[i]` was used. */
  touch (sessionIds: string[], agesMs: number[]): Promise<void>
  /** Whether a session of this user started at this address (IPv6: its /64) within the last 30 days. `false` for unknown names. */
  isKnownAddress (username: string, ip: string): Promise<boolean>
  /** Deletes at most `limit` rows that ended more than `retentionMs` ago; resolves to their number. */
  prune (retentionMs: number, limit: number): Promise<number>
}

/** The durable side: every transaction that issues or ends tokens. Resolves after the commit. */
export interface SessionStore {
  /** `null`: the password changed, or the user was deactivated, since the hash was verified. */
  login (userId: UserId, verifiedHash: string, token: TokenRequest): Promise<IssuedToken | null>
  /** `null`: no such active user. */
  issue (userId: UserId, token: TokenRequest): Promise<IssuedToken | null>
  /**
   * The new token gets the label and the scopes of the session. `null`: the hash has changed since it was verified.
   * @throws `FST_TOKEN_AUTH_INVALID_TOKEN` if the session has ended in the meantime.
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

/** The result of a revocation. */
export interface Revoked extends EndedTokens {
  /** Whether the thing to revoke exists. */
  found: boolean
  userId: UserId | null
}

/** The durable side: ending tokens. Resolves after the commit. */
export interface RevocationStore {
  token (digest: Digest, reason: RevokeReason): Promise<Revoked & { reason: RevokeReason | null, sessionId: string | null }>
  session (userId: UserId, sessionId: string, reason: RevokeReason): Promise<Revoked>
  user (userId: UserId, reason: RevokeReason): Promise<Revoked>
  setPassword (userId: UserId, hash: string): Promise<Revoked>
  setActive (userId: UserId, active: boolean): Promise<Revoked>
  deleteUser (userId: UserId): Promise<Revoked>
  /** The tokens of deleted users that a cache may still hold. */
  endedOfDeletedUsers (): Promise<Digest[]>
  /**
   * The tokens that the same logout-all ended together with this one, for a client that repeats the call; `null`: it was not ended
   * by a logout-all. Ends nothing.
   */
  endedTogether (digest: Digest): Promise<{ userId: UserId, digests: Digest[] } | null>
  /**
   * The tokens of the subject that were ended within the last `sinceMs`. Waits for transactions that hold its rows, so the answer is
   * final for them. Ends nothing.
   */
  findEnded (subject: RevocationSubject, sinceMs: number): Promise<Digest[]>
  /** Marks every cached copy of the user's data as invalid, and returns the digests of live and recently ended tokens. */
  refresh (userId: UserId): Promise<Digest[]>
}

/** A server that may answer from its memory. */
export interface Member {
  id: string
  /** How long it may answer after it was last known not to be expelled. */
  leaseMs: number
  isExpelled: boolean
}

/** The durable side: the servers that a revocation must reach. */
export interface MemberStore {
  /** Adds a member. An id is used once. */
  join (id: string, leaseMs: number): Promise<void>
  /** Whether it has joined and was not expelled. */
  isMember (id: string): Promise<boolean>
  list (): Promise<Member[]>
  /** From now on they are no members. The rows stay, because their leases have not run out yet. */
  expel (ids: readonly string[]): Promise<void>
  remove (ids: readonly string[]): Promise<void>
}

export interface UserStore {
  /** The user with this name, active or not. */
  find (username: string): Promise<AuthenticatedUser | null>
  findCredentials (username: string): Promise<Credentials | null>
  findCredentialsById (userId: UserId): Promise<Credentials | null>
  /** Replaces the hash by another of the same password; `false` if it has changed in the meantime. Ends no session. */
  rehash (userId: UserId, from: string, to: string): Promise<boolean>
  create (user: { username: string, passwordHash: string | null, fields: Record<string, unknown> }): Promise<AuthenticatedUser>
}
