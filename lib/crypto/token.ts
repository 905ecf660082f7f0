import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Digest } from '../../types/cache.js'
import type { RandomBytes } from '../../types/options.js'

/** 32 bytes (ASVS 5.0 7.2.3 asks for 16) are 43 characters of base64url. */
const SECRET_BYTES = 32
const SECRET_LENGTH = 43
const CHECKSUM_LENGTH = 6
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const BODY = /^[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}$/

export interface TokenFormat {
  /** Creates a new token: `<prefix>_<43 characters base64url><6 characters checksum>`. */
  create (): string
  /** Whether the string has the length of a token. */
  hasLength (text: string): boolean
  /** Whether the string has the form and the checksum of a token. A filter before any I/O, not authentication. */
  isWellFormed (text: string): boolean
}

/** CRC-32 in base62, six characters, over everything before it, as in GitHub's tokens. */
function checksum (text: string): string {
  let rest = crc32(text)
  let digits = ''
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    digits = ALPHABET[rest % 62] + digits
    rest = Math.floor(rest / 62)
  }
  return digits
}

export function createTokenFormat ({ prefix, randomBytes }: { prefix: string, randomBytes: RandomBytes }): TokenFormat {
  const head = `${prefix}_`
  const checked = head.length + SECRET_LENGTH
  const length = checked + CHECKSUM_LENGTH
  return {
    create () {
      const text = head + randomBytes(SECRET_BYTES).toString('base64url')
      return text + checksum(text)
    },
    hasLength: (text) => text.length === length,
    isWellFormed (text) {
      return text.length === length && text.startsWith(head) && BODY.test(text.slice(head.length)) &&
        text.slice(checked) === checksum(text.slice(0, checked))
    }
  }
}

/** SHA-256 of the whole token; 256 random bits need no slow hash (ASVS 5.0 6.5.2). */
export function digestOf (token: string): Digest {
  return hash('sha256', token, 'base64url')
}

/** A regular expression for secret scanners that finds tokens with this prefix in any text. */
export function scanningPattern (prefix: string): string {
  return `\\b${prefix}_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}\\b`
}
