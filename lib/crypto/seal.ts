import { createHmac, hash, timingSafeEqual } from 'node:crypto'

/** The secret key that all servers share: of pseudonyms, and of the seal of cache entries. */
export interface ServerKey {
  /** The key; `null` until it has been read. */
  current (): Uint8Array | null
  /** Reads it once for all callers; a failure is not kept. @throws `FST_TOKEN_AUTH_MISSING_TABLES`, and what a read of the database throws */
  load (): Promise<Uint8Array>
}

/** Marks strings as written by a server that has the server key. */
export interface Seal {
  /**
   * The tag, followed by the string; `null` while the key is not available. `about`: what the string is about. It is sealed, too, but not part of
   * the result: whoever opens it must know it. No `about` may be another one with the beginning of a string.
   */
  close (text: string, about?: string): string | null
  /** The string; `null` if the tag does not match, or while the key is not available. */
  open (sealed: string, about?: string): string | null
}

/** For the cache in this process, to which nobody else can write: adds nothing and accepts everything. */
export const UNSEALED: Seal = { close: (text) => text, open: (text) => text }

/** 32 bytes in base64url. */
const TAG_LENGTH = 43

/** Differs from the purpose of every pseudonym. */
const PURPOSE = 'cache entry\0'

/**
 * Seals under the server key. Neither call waits: if the key is missing, it is read in the background. `view`: what an entry depends on beside
 * the database. A server with another view does not accept the entry.
 */
export function createSeal (serverKey: ServerKey, view: string): Seal {
  let derived: string | null = null

  // A derived key, because the server key has other uses; a string of fixed length, which is cheap to prepend.
  function key (): string | null {
    if (derived !== null) return derived
    const shared = serverKey.current()
    if (shared === null) serverKey.load().catch(ignore)
    else derived = createHmac('sha256', shared).update(PURPOSE + view).digest('base64url')
    return derived
  }

  return {
    close (text, about = '') {
      const known = key()
      return known === null ? null : tagOf(known, about + text) + text
    },
    open (sealed, about = '') {
      const known = key()
      if (known === null || sealed.length <= TAG_LENGTH) return null
      const text = sealed.slice(TAG_LENGTH)
      return isSame(sealed.slice(0, TAG_LENGTH), tagOf(known, about + text)) ? text : null
    }
  }
}

// hash(key + string) is a MAC only if the digest hides half of the state. The digest of SHA-256 is the state, so
// an attacker with a tag can extend the string; SHA-512/256 (FIPS 180-4, 6.7) shows 256 of 512 bits. Coron, Dodis, Malinaud and
// Puniya, "Merkle-Damgard Revisited" (2005), prove this "chop" construction sound. It takes half the time of an HMAC.
function tagOf (key: string, text: string): string {
  return hash('sha512-256', key + text, 'base64url')
}

// latin1: one byte per character, so both have the same length.
function isSame (one: string, other: string): boolean {
  return timingSafeEqual(Buffer.from(one, 'latin1'), Buffer.from(other, 'latin1'))
}

function ignore (): void {}
