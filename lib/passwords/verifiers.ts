import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'
import type { Hasher, PasswordVerifier } from '../../types/passwords.js'
import { atMostEvery } from '../tools/quiet-log.js'
import { INSTALL_ARGON2 } from './argon2.js'
import type { Argon2Library } from './argon2.js'

export interface Verifiers {
  /** The verifier for this hash. `null` if none understands it. */
  find (stored: string): PasswordVerifier | null
  /** Whether `hasher.needsRehash` may judge this hash: the same verifier handles the hashes it makes now. */
  isOwn (stored: string): boolean
}

export interface VerifiersSettings {
  hasher: Hasher
  /** The host's. */
  verifiers: readonly PasswordVerifier[]
  builtIn: readonly PasswordVerifier[]
  /** A hash that the hasher has made. `null` if there is none yet. */
  ownHash: () => string | null
}

/**
 * The order in which verifiers are tried: the hasher, the host's verifiers, the built-in ones. A hasher without `understands` comes
 * after the host's verifiers. It is tried before the built-in ones for hashes of the kind it makes, because they may contain a pepper
 * that only the hasher knows, and last for hashes that nobody else understands.
 */
export function createVerifiers ({ hasher, verifiers, builtIn, ownHash }: VerifiersSettings): Verifiers {
  const hasherFor = (understands: (stored: string) => boolean): PasswordVerifier =>
    ({ understands, verify: (password, stored) => hasher.verify(password, stored) })
  const own = hasherFor((stored) => hasher.understands === undefined ? kindOf(stored) === kindOf(ownHash() ?? '') : hasher.understands(stored))
  const rest = hasherFor(() => true)
  const order = hasher.understands === undefined ? [...verifiers, own, ...builtIn, rest] : [own, ...verifiers, ...builtIn]
  const find = (stored: string) => order.find((verifier) => verifier.understands(stored)) ?? null

  return {
    find,
    isOwn (stored) {
      const verifier = find(stored)
      return verifier === own || verifier === rest || verifier === find(ownHash() ?? '')
    }
  }
}

/** The first word between the dollar signs: `2b`, `argon2id`, `pbkdf2_sha256`. */
function kindOf (stored: string): string {
  const [first = '', second = ''] = stored.split('$', 2)
  return first === '' ? second : first
}

const REPORT_MS = 600_000
// A fixed list, because the first word of a stored value may be a password in plain text.
const KIND = /^\$?(argon2id|argon2i|argon2d|argon2|bcrypt-sha256|bcrypt_sha256|bcrypt|pbkdf2_sha256|pbkdf2_sha1|pbkdf2-sha256|pbkdf2-sha512|scrypt|unsalted_md5|unsalted_sha1|md5|sha1|2[abxy]|crypt|1|5|6|y|P|H)\$/

export interface UnknownHashSettings {
  logger: Logger
  monotonicNow: Now
  findArgon2: () => Argon2Library | null
}

/** Logs that a user cannot log in because no verifier understands the stored hash: at most once in ten minutes, and never the hash. */
export function createUnknownHashReport ({ logger, monotonicNow, findArgon2 }: UnknownHashSettings): (stored: string) => void {
  return atMostEvery(REPORT_MS, (stored: string) => {
    const kind = KIND.exec(stored)?.[1] ?? 'unknown'
    const isMissing = kind.startsWith('argon2') && findArgon2() === null
    logger.warn({ kind }, isMissing
      ? `a stored password hash needs the package @node-rs/argon2: ${INSTALL_ARGON2}`
      : 'a stored password hash is damaged, exceeds a bound, or is of a kind that no verifier understands')
  }, monotonicNow)
}
