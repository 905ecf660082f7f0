import { createHmac, hash, timingSafeEqual } from 'node:crypto'

/** The secret key that all servers share: of pseudonyms, and of the seal of cache entries. */
export interface ServerKey {
  /** The key; `null` until it has been read. */
  current (): Uint8Array | null
  /** Reads it once for all callers; a failure is not kept. @throws `FST_TOKEN_AUTH_MISSING_TABLES`, and what a read of the database throws */
  load (): Promise<Uint8Array>
}

/** Marks texts as written by a server that has the shared key. */
export interface Seal {
  /** The tag, and the text after it; `null` while the key is not known. */
  close (text: string): string | null
  /** The text; `null` if the tag is not its own, or while the key is not known. */
  open (sealed: string): string | null
}

/** Where nobody else can write, in this process: nothing is added and all is believed. */
export const UNSEALED: Seal = { close: (text) => text, open: (text) => text }

/** 32 bytes in base64url. */
const TAG_LENGTH = 43

/** No purpose of a pseudonym begins like this. */
const PURPOSE = 'cache entry\0'

/** Seals under the shared key. Neither call waits: where the key is missing, it is read in the background. */
export function createSeal (serverKey: ServerKey): Seal {
  let derived: string | null = null

  // A key of its own, since the shared one has other uses; as text of a fixed length, which is cheap to put before another.
  function key (): string | null {
    if (derived !== null) return derived
    const shared = serverKey.current()
    if (shared === null) serverKey.load().catch(ignore)
    else derived = createHmac('sha256', shared).update(PURPOSE).digest('base64url')
    return derived
  }

  return {
    close (text) {
      const known = key()
      return known === null ? null : tagOf(known, text) + text
    },
    open (sealed) {
      const known = key()
      if (known === null || sealed.length <= TAG_LENGTH) return null
      const text = sealed.slice(TAG_LENGTH)
      return isSame(sealed.slice(0, TAG_LENGTH), tagOf(known, text)) ? text : null
    }
  }
}

// The key and then the text, hashed, is a MAC only where the digest hides half of the state. That of SHA-256 is the state, so
// whoever has a tag can go on to a longer text; SHA-512/256 (FIPS 180-4, 6.7) shows 256 of 512 bits. Coron, Dodis, Malinaud and
// Puniya, "Merkle-Damgard Revisited" (2005), prove this "chop" construction sound. It takes half the time of an HMAC.
function tagOf (key: string, text: string): string {
  return hash('sha512-256', key + text, 'base64url')
}

// One byte for each character, so both have the same length.
function isSame (one: string, other: string): boolean {
  return timingSafeEqual(Buffer.from(one, 'latin1'), Buffer.from(other, 'latin1'))
}

function ignore (): void {}
