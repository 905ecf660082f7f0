import type { PasswordVerifier } from '../../types/passwords.js'
import { parseArgon2 } from './argon2-encoding.js'
import type { Argon2Library } from './argon2-library.js'

/** Verifies Argon2 hashes in PHC form, whatever the variant. Understands none where the library is not there. */
export function createArgon2Verifier (find: () => Argon2Library | null): PasswordVerifier {
  return {
    understands: (stored) => parseArgon2(stored) !== null && find() !== null,
    async verify (password, stored) {
      const library = parseArgon2(stored) === null ? null : find()
      return library !== null && await library.verify(stored, password)
    }
  }
}
