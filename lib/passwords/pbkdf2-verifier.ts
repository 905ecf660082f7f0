import { pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'
import type { PasswordVerifier } from '../../types/passwords.js'
import { fromBase64, isSame } from '../crypto/compare.js'
import { isWithin } from './limits.js'

const derive = promisify(pbkdf2)
/** Django 5.2 takes a million; this is about two seconds of one core. */
const ITERATIONS = { min: 1, max: 5_000_000 }
const OUTPUT_BYTES: Record<string, number> = { sha256: 32, sha1: 20 }
const ENCODING = /^pbkdf2_(sha256|sha1)\$([1-9]\d{0,6})\$([^$]{1,256})\$([A-Za-z0-9+/]+={0,2})$/

function parse (stored: string) {
  const [, digest, iterations, salt, output] = ENCODING.exec(stored) ?? []
  if (digest === undefined || salt === undefined || output === undefined || !isWithin(Number(iterations), ITERATIONS)) return null
  const expected = fromBase64(output, { padded: true })
  if (expected === null || expected.length !== OUTPUT_BYTES[digest]) return null
  return { digest, iterations: Number(iterations), salt, expected }
}

/** Verifies Django's `pbkdf2_sha256` and `pbkdf2_sha1`, in the threads of libuv. */
export function createPbkdf2Verifier (): PasswordVerifier {
  return {
    understands: (stored) => parse(stored) !== null,
    async verify (password, stored) {
      const parameters = parse(stored)
      if (parameters === null) return false
      const { digest, iterations, salt, expected } = parameters
      return isSame(await derive(password, salt, iterations, expected.length, digest), expected)
    }
  }
}
