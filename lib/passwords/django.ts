import { createHash, pbkdf2, scrypt } from 'node:crypto'
import type { ScryptOptions } from 'node:crypto'
import { promisify } from 'node:util'
import { fromBase64, isSame } from '../crypto/compare.js'
import { isWithin } from '../options/rules.js'
import type { PasswordVerifier } from '../../types/passwords.js'
import { createArgon2Verifier } from './argon2.js'
import type { Argon2Library } from './argon2.js'
import { createBcryptVerifier, defaultThreads } from './bcrypt.js'
import { createBcryptThreads } from './bcrypt-threads.js'

const derivePbkdf2 = promisify(pbkdf2)
const deriveScrypt: (password: string, salt: string, length: number, options: ScryptOptions) => Promise<Buffer> = promisify(scrypt)

/** Django 5.2 uses a million. The maximum takes about two seconds of one core. */
const PBKDF2_ITERATIONS = { min: 1, max: 5_000_000 }
const PBKDF2_OUTPUT_BYTES: Record<string, number> = { sha256: 32, sha1: 20 }
const PBKDF2 = /^pbkdf2_(sha256|sha1)\$([1-9]\d{0,6})\$([^$]{1,256})\$([A-Za-z0-9+/]+={0,2})$/

const MAX_SCRYPT_BYTES = 256 * 1024 * 1024
/** N * r * p: about two seconds of one core. Django uses 2^17 and, since 5.1, 5 * 2^17. */
const MAX_SCRYPT_WORK = 2 ** 22
const SCRYPT_OUTPUT_BYTES = 64
const SCRYPT = /^scrypt\$([1-9]\d{0,7})\$([^$]{1,256})\$([1-9]\d?)\$([1-9]\d?)\$([A-Za-z0-9+/]+={0,2})$/

/**
 * The encodings that every installation verifies, whichever hasher it uses: plain and pre-hashed bcrypt, Argon2 in PHC form, and those of
 * Django that still protect a password (`pbkdf2_sha256`, `pbkdf2_sha1`, `bcrypt_sha256`, `bcrypt`, `argon2`, `scrypt`).
 */
export function createBuiltInVerifiers ({ findArgon2 }: { findArgon2: () => Argon2Library | null }): PasswordVerifier[] {
  const threads = createBcryptThreads({ threads: defaultThreads() })
  const bcrypt = { ...createBcryptVerifier(threads), close: threads.close }
  const argon2 = createArgon2Verifier(findArgon2)
  return [
    bcrypt,
    argon2,
    createPbkdf2Verifier(),
    createScryptVerifier(),
    withPrefix({ prefix: /^bcrypt\$(?=\$2)/, verifier: bcrypt }),
    withPrefix({ prefix: /^bcrypt_sha256\$(?=\$2)/, verifier: bcrypt, prehash: sha256Hex }),
    withPrefix({ prefix: /^argon2(?=\$)/, verifier: argon2 })
  ]
}

/** Verifies Django's `pbkdf2_sha256` and `pbkdf2_sha1`, in libuv's thread pool. */
export function createPbkdf2Verifier (): PasswordVerifier {
  return {
    understands: (stored) => parsePbkdf2(stored) !== null,
    async verify (password, stored) {
      const parameters = parsePbkdf2(stored)
      if (parameters === null) return false
      const { digest, iterations, salt, expected } = parameters
      return isSame(await derivePbkdf2(password, salt, iterations, expected.length, digest), expected)
    }
  }
}

function parsePbkdf2 (stored: string) {
  const [, digest, iterations, salt, output] = PBKDF2.exec(stored) ?? []
  if (digest === undefined || salt === undefined || output === undefined || !isWithin(Number(iterations), PBKDF2_ITERATIONS)) return null
  const expected = fromBase64(output, { padded: true })
  if (expected === null || expected.length !== PBKDF2_OUTPUT_BYTES[digest]) return null
  return { digest, iterations: Number(iterations), salt, expected }
}

/** Verifies Django's `scrypt`, in libuv's thread pool. */
export function createScryptVerifier (): PasswordVerifier {
  return {
    understands: (stored) => parseScrypt(stored) !== null,
    async verify (password, stored) {
      const parameters = parseScrypt(stored)
      if (parameters === null) return false
      const { N, r, p, salt, expected } = parameters
      // As OpenSSL counts: the large table, two blocks beside it, and one block for each lane.
      const maxmem = 128 * r * (N + 2 + p)
      return isSame(await deriveScrypt(password, salt, expected.length, { N, r, p, maxmem }), expected)
    }
  }
}

function parseScrypt (stored: string) {
  const [, cost, salt, blockSize, parallelism, output] = SCRYPT.exec(stored) ?? []
  if (salt === undefined || output === undefined) return null
  const parameters = { N: Number(cost), r: Number(blockSize), p: Number(parallelism) }
  const expected = fromBase64(output, { padded: true })
  return expected?.length === SCRYPT_OUTPUT_BYTES && isComputable(parameters) ? { ...parameters, salt, expected } : null
}

function isComputable ({ N, r, p }: { N: number, r: number, p: number }): boolean {
  return N > 1 && (N & (N - 1)) === 0 && 128 * N * r <= MAX_SCRYPT_BYTES && N * r * p <= MAX_SCRYPT_WORK
}

interface Prefixed {
  prefix: RegExp
  verifier: PasswordVerifier
  prehash?: (password: string) => string
}

/** Django writes the name of its hasher before the encoding of others. */
function withPrefix ({ prefix, verifier, prehash = (password) => password }: Prefixed): PasswordVerifier {
  return {
    understands: (stored) => prefix.test(stored) && verifier.understands(stored.replace(prefix, '')),
    verify: async (password, stored) => await verifier.verify(prehash(password), stored.replace(prefix, ''))
  }
}

function sha256Hex (password: string): string {
  return createHash('sha256').update(password).digest('hex')
}
