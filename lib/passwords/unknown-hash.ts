import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'
import { atMostEvery } from '../tools/quiet-log.js'
import { INSTALL_ARGON2 } from './argon2-library.js'
import type { Argon2Library } from './argon2-library.js'

export interface UnknownHashSettings {
  logger: Logger
  monotonicNow: Now
  findArgon2: () => Argon2Library | null
}

const PAUSE_MS = 600_000
// A list, because the first word of what is stored may as well be a password in plain text.
const KIND = /^\$?(argon2id|argon2i|argon2d|argon2|bcrypt-sha256|bcrypt_sha256|bcrypt|pbkdf2_sha256|pbkdf2_sha1|pbkdf2-sha256|pbkdf2-sha512|scrypt|unsalted_md5|unsalted_sha1|md5|sha1|2[abxy]|crypt|1|5|6|y|P|H)\$/

/** Tells the log that somebody cannot log in because nobody understands the stored hash; at most once in ten minutes, without the hash. */
export function createUnknownHashReport ({ logger, monotonicNow, findArgon2 }: UnknownHashSettings): (stored: string) => void {
  return atMostEvery(PAUSE_MS, (stored: string) => {
    const kind = KIND.exec(stored)?.[1] ?? 'unknown'
    const isMissing = kind.startsWith('argon2') && findArgon2() === null
    logger.warn({ kind }, isMissing
      ? `a stored password hash needs the package @node-rs/argon2: ${INSTALL_ARGON2}`
      : 'a stored password hash is damaged, asks for too much, or is of a kind that no verifier understands')
  }, monotonicNow)
}
