import { INVALID_OPTION } from '../errors.js'
import type { Hasher } from '../../types/passwords.js'
import { ARGON2_LIMITS, isComputable, parseArgon2 } from './argon2-encoding.js'
import type { Argon2Parameters } from './argon2-encoding.js'
import { INSTALL_ARGON2, loadArgon2 } from './argon2-library.js'
import type { Argon2Library } from './argon2-library.js'
import { checkInteger, refuseUnknown } from './limits.js'

export interface Argon2idOptions {
  /** KiB, at least 8 for each lane, at most 262144; 19456 (19 MiB) by default. */
  memoryCost?: number
  /** Passes over the memory, 1 to 16; 2 by default. */
  timeCost?: number
  /** Lanes, 1 to 16; 1 by default. */
  parallelism?: number
}

/** What the library writes; imported hashes may have less. */
const OWN_SALT_BYTES = 16
const OWN_OUTPUT_BYTES = 32

/**
 * Argon2id in the threads of libuv, by the optional peer dependency `@node-rs/argon2`. The defaults are the first choice of
 * OWASP's Password Storage Cheat Sheet. Stored hashes are PHC strings; what they ask for is bounded.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, also where the package is not installed
 */
export function argon2id (options: Argon2idOptions = {}): Hasher {
  refuseUnknown('argon2id', options, ['memoryCost', 'timeCost', 'parallelism'])
  const { memoryCost = 19_456, timeCost = 2, parallelism = 1 } = options
  checkOptions({ memoryCost, timeCost, parallelism })
  const argon2 = load()
  const parse = (stored: string) => {
    const parameters = parseArgon2(stored)
    return parameters?.kind === 'argon2id' ? parameters : null
  }
  const isWeaker = (stored: Argon2Parameters) => stored.version !== 19 ||
    stored.memoryKiB < memoryCost || stored.time < timeCost || stored.parallelism < parallelism ||
    stored.saltBytes < OWN_SALT_BYTES || stored.outputBytes < OWN_OUTPUT_BYTES

  return {
    hash: (password) => argon2.hash(password, { memoryCost, timeCost, parallelism }),
    understands: (stored) => parse(stored) !== null,
    verify: async (password, stored) => parse(stored) !== null && await argon2.verify(stored, password),
    needsRehash (stored) {
      const parameters = parse(stored)
      return parameters === null || isWeaker(parameters)
    }
  }
}

function checkOptions ({ memoryCost, timeCost, parallelism }: Required<Argon2idOptions>): void {
  checkInteger('argon2id: parallelism', parallelism, ARGON2_LIMITS.parallelism)
  checkInteger('argon2id: timeCost', timeCost, ARGON2_LIMITS.time)
  checkInteger('argon2id: memoryCost', memoryCost, { min: 8 * parallelism, max: ARGON2_LIMITS.memoryKiB })
  if (isComputable({ memoryKiB: memoryCost, time: timeCost, parallelism })) return
  throw new INVALID_OPTION(`argon2id: memoryCost * timeCost must be at most ${ARGON2_LIMITS.work}, got ${memoryCost * timeCost}`)
}

function load (): Argon2Library {
  try {
    return loadArgon2()
  } catch (error) {
    throw Object.assign(new INVALID_OPTION(`argon2id() needs the package @node-rs/argon2: ${INSTALL_ARGON2}`), { cause: error })
  }
}
