import bcryptjs from 'bcryptjs'
import type { Hasher } from '../../types/passwords.js'
import { COSTS, encodePrehashed, needsPrehash, parseBcrypt, prehash } from './bcrypt-encoding.js'
import { createBcryptThreads } from './bcrypt-threads.js'
import { createBcryptVerifier, defaultThreads } from './bcrypt-verifier.js'
import { checkInteger, refuseUnknown } from './limits.js'

export interface BcryptOptions {
  /** log2 of the rounds, 4 to 16; 12 by default (a quarter of a second). */
  cost?: number
  /** Most worker threads, 1 to 256; by default as many as cores, at most 8. `hashing.concurrency` bounds how many are in use. */
  threads?: number
}

/**
 * bcrypt, in worker threads. Passwords of 72 bytes and more are stored in passlib's `bcrypt_sha256` encoding, version 2
 * (bcrypt of the base64 HMAC-SHA-256 of the password under the salt), so nothing of them is cut off.
 * Plain bcrypt hashes of other software verify as they did there.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`
 */
export function bcrypt (options: BcryptOptions = {}): Hasher {
  refuseUnknown('bcrypt', options, ['cost', 'threads'])
  const { cost = 12, threads = defaultThreads() } = options
  checkInteger('bcrypt: cost', cost, COSTS)
  checkInteger('bcrypt: threads', threads, { min: 1, max: 256 })
  const pool = createBcryptThreads({ threads })

  return {
    ...createBcryptVerifier(pool),
    async hash (password) {
      const setting = await bcryptjs.genSalt(cost)
      const salt = setting.slice(-22)
      if (!needsPrehash(password)) return await pool.hash(password, setting)
      return encodePrehashed(await pool.hash(prehash(password, salt), setting), { cost, salt })
    },
    needsRehash (stored) {
      const parameters = parseBcrypt(stored)
      return parameters === null || parameters.cost < cost
    },
    close: pool.close
  }
}
