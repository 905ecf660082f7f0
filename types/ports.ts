import type { AuthenticatedUser, Session, UserId } from './user.js'

export type * from './guard-ports.js'

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
  /** Declares every cached copy of the user's data void. `live`: entries to drop; `revoked`: tokens that have ended lately. */
  refresh (userId: UserId): Promise<{ live: Digest[], revoked: Digest[] }>
}

export interface UserStore {
  findByUsername (username: string): Promise<Credentials | null>
  findById (userId: UserId): Promise<Credentials | null>
  /** Replaces the hash by another of the same password; `false` if it has changed meanwhile. Ends no session. */
  rehash (userId: UserId, from: string, to: string): Promise<boolean>
  create (user: { username: string, passwordHash: string | null, fields: Record<string, unknown> }): Promise<AuthenticatedUser>
}

/**
 * The cache side. Every write is safe if it comes late, twice or out of order: see docs/storage.md.
 * A rejection or an error means "no answer" and is never an answer about a token.
 */
export interface TokenCache {
  /** One plain read. By callback, because a cached answer then costs no promise. */
  get (digest: Digest, done: (error: Error | null, value: string | null) => void): void
  /** The value that is there; else writes `lease` for `leaseMs` and resolves to it. */
  getOrLease (digest: Digest, lease: string, leaseMs: number): Promise<string>
  /**
   * Writes `value` only where `lease` still stands. `ttlMs` counts from the instant at which the lease was written, by the cache's own clock:
   * however late the fill comes, the entry lives no longer; if that time is over, the key ends. `leaseMs` is what `getOrLease` was given.
   */
  fill (digest: Digest, lease: string, value: string, ttlMs: number, leaseMs: number): Promise<void>
  /** Writes the terminal tombstone over whatever is there; resolves when all are acknowledged. */
  tombstone (digests: readonly Digest[], ttlMs: number): Promise<void>
  /** Forgets the entries; as safe as an eviction. */
  drop (digests: readonly Digest[]): Promise<void>
  /** Whether the digest holds a tombstone. */
  holdsTombstone (digest: Digest): Promise<boolean>
  /** Calls `listener(true)` at every (re)connection and `listener(false)` at every loss; at once when connected. */
  onConnection (listener: (connected: boolean) => void): void
  close (): Promise<void>
}

/** A read under way whose answer the near cache may keep. */
export interface NearRead {
  readonly digest: Digest
  /** When it began, by the clocks of this process. */
  readonly asked: { readonly wallMs: number, readonly monotonicMs: number }
}

/** Live tokens in this process, for as long as it would be told that they end. */
export interface NearCache {
  get (digest: Digest): TokenRecord | null
  /** Before a read. `null`: what it finds is not kept. Each read must be settled. */
  begin (digest: Digest): NearRead | null
  /** After the read: keeps a live record, unless an invalidation came since `begin`. */
  settle (read: NearRead, record: TokenRecord | null): void
  drop (digests: readonly Digest[]): void
  clear (): void
}

/** How near caches tell each other which entries are void. A message that is lost costs time, never an error. */
export interface InvalidationChannel {
  /** Whether every message would arrive now. */
  isStanding (): boolean
  start (): void
  /** Never rejects. */
  publish (digests: readonly Digest[]): Promise<void>
  close (): Promise<void>
}
