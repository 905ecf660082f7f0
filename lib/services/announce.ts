import { REVOCATION_PENDING } from '../errors.js'
import type { Digest } from '../../types/ports.js'

/** Resolves when no server accepts the tokens any more; the database has committed their end before. */
export type Announce = (digests: readonly Digest[], pending?: () => Error) => Promise<void>

export interface AnnounceSettings {
  writeTombstones: (digests: readonly Digest[]) => Promise<boolean>
  revocation: 'strict' | 'bounded'
}

/**
 * `strict`: without the cache's acknowledgement the caller is told that the revocation is pending.
 * `bounded`: the caller is told that it is done; a server may accept the token for `cache.ttl` more.
 */
export function createAnnounce ({ writeTombstones, revocation }: AnnounceSettings): Announce {
  return async (digests, pending = () => new REVOCATION_PENDING()) => {
    const isAcknowledged = await writeTombstones(digests)
    if (!isAcknowledged && revocation === 'strict') throw pending()
  }
}
