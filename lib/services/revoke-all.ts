import { REVOCATION_PENDING } from '../errors.js'
import type { TokenStore } from '../ports.js'
import type { RevokeProgress } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'

export interface RevokeAllSettings {
  tokens: Pick<TokenStore, 'listOwners'>
  revokeUser (userId: UserId): Promise<number>
  /** Writes the tombstones of users who have been deleted. */
  finishDeletions (): Promise<void>
}

export type RevokeAll = (options: { onProgress: (progress: RevokeProgress) => void }) => Promise<number>

/** Users whose sessions are ended at the same time. */
const PARALLEL = 4

/**
 * Ends the sessions of every user, each as `revokeUser` does. If the cache does not acknowledge one, the others are ended all the same, and
 * the call rejects in the end.
 */
export function createRevokeAll ({ tokens, revokeUser, finishDeletions }: RevokeAllSettings): RevokeAll {
  return async ({ onProgress }) => {
    let revoked = 0
    let pending: Error | null = null
    for await (const userIds of pages(tokens)) {
      for (const result of await Promise.allSettled(userIds.map(revokeUser))) {
        if (result.status === 'fulfilled') revoked += result.value
        else pending = asPending(result.reason)
      }
      onProgress({ revoked })
    }
    await finishDeletions().catch((error) => { pending = asPending(error) })
    if (pending !== null) throw pending
    return revoked
  }
}

async function * pages ({ listOwners }: Pick<TokenStore, 'listOwners'>): AsyncGenerator<UserId[]> {
  let after: UserId | null = null
  do {
    const userIds: UserId[] = await listOwners(after, PARALLEL)
    if (userIds.length > 0) yield userIds
    after = userIds.at(-1) ?? null
  } while (after !== null)
}

function asPending (error: unknown): Error {
  if (error instanceof REVOCATION_PENDING) return error
  throw error
}
