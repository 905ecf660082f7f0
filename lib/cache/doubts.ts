import type { RevocationSubject } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { UserId } from '../../types/user.js'

/** Tokens that may have been revoked without the cache knowing: the cache is not trusted about them. */
export interface Doubts {
  /** Returns a function that ends this doubt; other doubts about the same tokens remain. */
  begin (subject: RevocationSubject): () => void
  holdsToken (digest: Digest): boolean
  holdsUser (userId: UserId): boolean
  /** Calls `listener` when a doubt begins. */
  onBegin (listener: () => void): void
}

export function createDoubts (): Doubts {
  const counts = new Map<string, number>()
  const listeners: (() => void)[] = []

  function end (key: string): void {
    const count = counts.get(key)! - 1
    if (count === 0) counts.delete(key)
    else counts.set(key, count)
  }

  return {
    begin (subject) {
      const key = keyOf(subject)
      counts.set(key, (counts.get(key) ?? 0) + 1)
      for (const listener of listeners) listener()
      let isOver = false
      return () => {
        if (!isOver) end(key)
        isOver = true
      }
    },
    holdsToken: (digest) => counts.size > 0 && counts.has(keyOf({ digest })),
    holdsUser: (userId) => counts.size > 0 && counts.has(keyOf({ userId })),
    onBegin (listener) { listeners.push(listener) }
  }
}

function keyOf (subject: RevocationSubject): string {
  return 'digest' in subject ? `token ${subject.digest}` : `user ${String(subject.userId)}`
}
