import { availableParallelism } from 'node:os'
import type { PasswordVerifier } from '../../types/passwords.js'
import { bcryptSalt, encodePrehashed, parseBcrypt, prehash } from './bcrypt-encoding.js'
import type { BcryptThreads } from './bcrypt-threads.js'
import { isSame } from '../crypto/compare.js'

/** Each thread costs some megabytes, and machines with more cores have more to do than logins. */
const MOST_THREADS = 8

export function defaultThreads (): number {
  return Math.min(availableParallelism(), MOST_THREADS)
}

/** Verifies plain bcrypt hashes (`$2a$`, `$2b$`, `$2y$`) and passlib's `bcrypt_sha256`, version 2. The caller closes the threads. */
export function createBcryptVerifier (threads: BcryptThreads): PasswordVerifier {
  return {
    understands: (stored) => parseBcrypt(stored) !== null,
    async verify (password, stored) {
      const parameters = parseBcrypt(stored)
      if (parameters === null) return false
      // With a NUL inside, bcrypt would take the password for others.
      if (!parameters.isPrehashed) return await threads.compare(password, stored) && !password.includes('\0')
      const hash = await threads.hash(prehash(password, parameters.salt), bcryptSalt(parameters))
      return isSame(Buffer.from(encodePrehashed(hash, parameters)), Buffer.from(stored))
    }
  }
}
