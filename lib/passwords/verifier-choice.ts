import type { Hasher, PasswordVerifier } from '../../types/passwords.js'

export interface VerifierChoice {
  /** Who verifies this hash; `null` if nobody understands it. */
  find (stored: string): PasswordVerifier | null
  /** Whether it is the hasher's own work to say how good this hash is, because the same one verifies what it makes now. */
  isOwn (stored: string): boolean
}

export interface VerifierChoiceSettings {
  hasher: Hasher
  verifiers: readonly PasswordVerifier[]
  builtIn: readonly PasswordVerifier[]
  /** A hash of the hasher's own making, if there is one yet. */
  ownHash: () => string | null
}

/**
 * Who verifies a hash: the hasher, then the host's verifiers, then the built-in ones. A hasher that does not say what it
 * understands comes after the host's verifiers, but before the built-in ones with hashes of the kind that it makes: they
 * may be made with a pepper, which only it knows. At the end it is given what nobody understands.
 */
export function createVerifierChoice ({ hasher, verifiers, builtIn, ownHash }: VerifierChoiceSettings): VerifierChoice {
  const ask = (understands: (stored: string) => boolean): PasswordVerifier =>
    ({ understands, verify: (password, stored) => hasher.verify(password, stored) })
  const known = ask((stored) => hasher.understands === undefined ? kindOf(stored) === kindOf(ownHash() ?? '') : hasher.understands(stored))
  const rest = ask(() => true)
  const order = hasher.understands === undefined ? [...verifiers, known, ...builtIn, rest] : [known, ...verifiers, ...builtIn]
  const find = (stored: string) => order.find((verifier) => verifier.understands(stored)) ?? null

  return {
    find,
    isOwn (stored) {
      const verifier = find(stored)
      return verifier === known || verifier === rest || verifier === find(ownHash() ?? '')
    }
  }
}

/** The first word between the dollar signs: `2b`, `argon2id`, `pbkdf2_sha256`. */
function kindOf (stored: string): string {
  const [first = '', second = ''] = stored.split('$', 2)
  return first === '' ? second : first
}
