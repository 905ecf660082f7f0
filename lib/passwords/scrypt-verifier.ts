import { scrypt } from 'node:crypto'
import type { ScryptOptions } from 'node:crypto'
import { promisify } from 'node:util'
import type { PasswordVerifier } from '../../types/passwords.js'
import { fromBase64, isSame } from '../crypto/compare.js'

const derive: (password: string, salt: string, length: number, options: ScryptOptions) => Promise<Buffer> = promisify(scrypt)
const MOST_MEMORY_BYTES = 256 * 1024 * 1024
/** N * r * p: about two seconds of one core. Django's are 2^17 and, since 5.1, 5 * 2^17. */
const MOST_WORK = 2 ** 22
const OUTPUT_BYTES = 64
const ENCODING = /^scrypt\$([1-9]\d{0,7})\$([^$]{1,256})\$([1-9]\d?)\$([1-9]\d?)\$([A-Za-z0-9+/]+={0,2})$/

function isComputable ({ N, r, p }: { N: number, r: number, p: number }): boolean {
  return N > 1 && (N & (N - 1)) === 0 && 128 * N * r <= MOST_MEMORY_BYTES && N * r * p <= MOST_WORK
}

function parse (stored: string) {
  const [, cost, salt, blockSize, parallelism, output] = ENCODING.exec(stored) ?? []
  if (salt === undefined || output === undefined) return null
  const parameters = { N: Number(cost), r: Number(blockSize), p: Number(parallelism) }
  const expected = fromBase64(output, { padded: true })
  return expected?.length === OUTPUT_BYTES && isComputable(parameters) ? { ...parameters, salt, expected } : null
}

/** Verifies Django's `scrypt`, in the threads of libuv. */
export function createScryptVerifier (): PasswordVerifier {
  return {
    understands: (stored) => parse(stored) !== null,
    async verify (password, stored) {
      const parameters = parse(stored)
      if (parameters === null) return false
      const { N, r, p, salt, expected } = parameters
      // What OpenSSL counts: the big table, two blocks beside it, and one block a lane.
      const maxmem = 128 * r * (N + 2 + p)
      return isSame(await derive(password, salt, expected.length, { N, r, p, maxmem }), expected)
    }
  }
}
