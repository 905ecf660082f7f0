import { createHash } from 'node:crypto'
import type { PasswordVerifier } from '../../types/passwords.js'
import type { Argon2Library } from './argon2-library.js'
import { createArgon2Verifier } from './argon2-verifier.js'
import { createBcryptThreads } from './bcrypt-threads.js'
import { createBcryptVerifier, defaultThreads } from './bcrypt-verifier.js'
import { createPbkdf2Verifier } from './pbkdf2-verifier.js'
import { createScryptVerifier } from './scrypt-verifier.js'

/**
 * The encodings that every installation verifies, whatever it hashes with: all of Django's that are still a defence
 * (`pbkdf2_sha256`, `pbkdf2_sha1`, `bcrypt_sha256`, `bcrypt`, `argon2`, `scrypt`), plain and pre-hashed bcrypt, Argon2 in PHC form.
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
    behind({ word: /^bcrypt\$(?=\$2)/, verifier: bcrypt }),
    behind({ word: /^bcrypt_sha256\$(?=\$2)/, verifier: bcrypt, prehash: sha256Hex }),
    behind({ word: /^argon2(?=\$)/, verifier: argon2 })
  ]
}

interface Behind {
  word: RegExp
  verifier: PasswordVerifier
  prehash?: (password: string) => string
}

/** Django writes its own word before what others write. */
function behind ({ word, verifier, prehash = (password) => password }: Behind): PasswordVerifier {
  return {
    understands: (stored) => word.test(stored) && verifier.understands(stored.replace(word, '')),
    verify: async (password, stored) => await verifier.verify(prehash(password), stored.replace(word, ''))
  }
}

function sha256Hex (password: string): string {
  return createHash('sha256').update(password).digest('hex')
}
