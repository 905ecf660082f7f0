/** Life of a lease in milliseconds: how long a reader may take to ask SQL and fill. A fill that comes later is ignored. */
export const LEASE_MS = 2000

/**
 * The longest time from a revocation's instant to its commit. The rows are locked by then, but statements may follow, and a server or the
 * database may be frozen for a while. A transaction that took longer is dated again once its end is known.
 */
export const TRANSACTION_MS = 30_000

/** A revocation that is older than this when its commit is seen is dated again. Well below `TRANSACTION_MS`, which it protects. */
export const DATE_AGAIN_MS = 10_000

/**
 * How long after a revocation an entry from a read before its commit can live: the transaction, the lease and the entry.
 * Tombstones live that long, and only revocations younger than that are written again.
 */
export function staleWindowMs (cacheTtlMs: number): number {
  return cacheTtlMs + LEASE_MS + TRANSACTION_MS
}
