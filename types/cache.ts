/** SHA-256 of a whole token, base64url (43 characters): the only stored form of a token. */
export type Digest = string

/**
 * The cache side. Every write is safe if it arrives late, twice or out of order: see docs/protocol.md.
 * A rejection or an error means "no answer" and says nothing about a token.
 */
export interface TokenCache {
  /** One plain read. By callback, so that a cached answer creates no promise. */
  get (digest: Digest, done: (error: Error | null, value: string | null) => void): void
  /** Resolves to the existing value; if there is none, writes `lease` for `leaseMs` and resolves to it. */
  getOrLease (digest: Digest, lease: string, leaseMs: number): Promise<string>
  /**
   * Writes `value` only if `lease` is still there. `ttlMs` counts from the time the lease was written, by the cache's own clock:
   * a late fill does not extend the life of the entry; if that time is over, the key expires. `leaseMs` is the value passed to `getOrLease`.
   */
  fill (digest: Digest, lease: string, value: string, ttlMs: number, leaseMs: number): Promise<void>
  /** Overwrites the keys with the final tombstone; resolves when all writes are acknowledged. */
  tombstone (digests: readonly Digest[], ttlMs: number): Promise<void>
  /** Deletes the entries; as safe as an eviction. */
  drop (digests: readonly Digest[]): Promise<void>
  /** Whether the key of the digest holds a tombstone. */
  holdsTombstone (digest: Digest): Promise<boolean>
  /** Calls `listener(true)` at every (re)connection and `listener(false)` at every loss; at once when connected. */
  onConnection (listener: (connected: boolean) => void): void
  close (): Promise<void>
}
