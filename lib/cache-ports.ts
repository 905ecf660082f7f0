import type { Digest, TokenRecord } from './ports.js'

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
