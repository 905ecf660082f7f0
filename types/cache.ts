/** SHA-256 of a whole token, base64url (43 characters): the only form of it that is kept. */
export type Digest = string

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
