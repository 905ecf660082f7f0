import { createRequire } from 'node:module'
import { fromBase64 } from '../crypto/compare.js'
import { INVALID_OPTION } from '../errors.js'
import { entry, integer, isWithin, readTable } from '../options/rules.js'
import type { Hasher, PasswordVerifier } from '../../types/passwords.js'

/** The part of `@node-rs/argon2` that is used. It computes in libuv's thread pool. */
export interface Argon2Library {
  hash (password: string, options: { memoryCost: number, timeCost: number, parallelism: number }): Promise<string>
  verify (stored: string, password: string): Promise<boolean>
}

export interface Argon2idOptions {
  /** Memory in KiB: at least 8 for each lane, at most 262144. Default: 19456 (19 MiB). */
  memoryCost?: number
  /** Passes over the memory, 1 to 16. Default: 2. */
  timeCost?: number
  /** Lanes, 1 to 16. Default: 1. */
  parallelism?: number
}

interface Parameters {
  kind: string
  version: number
  memoryKiB: number
  time: number
  parallelism: number
  saltBytes: number
  outputBytes: number
}

export const INSTALL_ARGON2 = 'npm install @node-rs/argon2'

/** The most that is computed. RFC 9106's second choice (64 MiB, 3 passes) and Django's 100 MiB with 2 passes are well below it. */
const MAX_MEMORY_KIB = 262_144
const TIME = { min: 1, max: 16 }
const PARALLELISM = { min: 1, max: 16 }
/** Memory times passes: about two seconds of one core. */
const MAX_WORK = 1_048_576
const SALT_BYTES = { min: 8, max: 48 }
const OUTPUT_BYTES = { min: 16, max: 64 }
/** What the library writes. Imported hashes may have less. */
const OWN_SALT_BYTES = 16
const OWN_OUTPUT_BYTES = 32
const PHC = /^\$(argon2id|argon2i|argon2d)\$(?:v=(16|19)\$)?m=([1-9]\d{0,6}),t=([1-9]\d?),p=([1-9]\d?)\$([A-Za-z0-9+/]{11,64})\$([A-Za-z0-9+/]{22,86})$/

const OPTIONS = {
  memoryCost: entry(19_456, integer({ min: 8, max: MAX_MEMORY_KIB })),
  timeCost: entry(2, integer(TIME)),
  parallelism: entry(1, integer(PARALLELISM))
}
const AT = { prefix: 'argon2id: ', owner: 'argon2id()' }

/**
 * Argon2id, computed in libuv's thread pool by the optional peer dependency `@node-rs/argon2`. The defaults are the first choice of
 * OWASP's Password Storage Cheat Sheet. Hashes are stored as PHC strings, and their parameters are bounded.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, also if the package is not installed
 */
export function argon2id (options: Argon2idOptions = {}): Hasher {
  return createArgon2id(options, loadArgon2)
}

export function createArgon2id (options: Argon2idOptions, load: () => Argon2Library): Hasher {
  const cost = readCost(options)
  const argon2 = loadOrRefuse(load)
  const parse = (stored: string) => {
    const parameters = parseArgon2(stored)
    return parameters?.kind === 'argon2id' ? parameters : null
  }

  return {
    hash: (password) => argon2.hash(password, cost),
    understands: (stored) => parse(stored) !== null,
    verify: async (password, stored) => parse(stored) !== null && await argon2.verify(stored, password),
    needsRehash (stored) {
      const parameters = parse(stored)
      return parameters === null || isWeaker(parameters, cost)
    }
  }
}

/** Verifies Argon2 hashes in PHC form, of every variant. It understands none if the library is not installed. */
export function createArgon2Verifier (find: () => Argon2Library | null): PasswordVerifier {
  return {
    understands: (stored) => parseArgon2(stored) !== null && find() !== null,
    async verify (password, stored) {
      const library = parseArgon2(stored) === null ? null : find()
      return library !== null && await library.verify(stored, password)
    }
  }
}

/** Loads the library at the first call. `null` if it is not installed, which is remembered. */
export function createArgon2Finder (load: () => Argon2Library = loadArgon2): () => Argon2Library | null {
  let found: Argon2Library | null | undefined
  return () => {
    if (found === undefined) found = loadOrNull(load)
    return found
  }
}

/** @throws what `require` does, if the package is not installed */
export function loadArgon2 (require: (name: string) => unknown = createRequire(import.meta.url)): Argon2Library {
  return require('@node-rs/argon2') as Argon2Library
}

function loadOrNull (load: () => Argon2Library): Argon2Library | null {
  try {
    return load()
  } catch {
    return null
  }
}

function loadOrRefuse (load: () => Argon2Library): Argon2Library {
  try {
    return load()
  } catch (error) {
    throw Object.assign(new INVALID_OPTION(`argon2id() needs the package @node-rs/argon2: ${INSTALL_ARGON2}`), { cause: error })
  }
}

function readCost (options: Argon2idOptions): Required<Argon2idOptions> {
  const cost = readTable<Required<Argon2idOptions>>(OPTIONS, options, AT)
  const { memoryCost, timeCost, parallelism } = cost
  integer({ min: 8 * parallelism, max: MAX_MEMORY_KIB })(memoryCost, 'argon2id: memoryCost')
  if (memoryCost * timeCost <= MAX_WORK) return cost
  throw new INVALID_OPTION(`argon2id: memoryCost * timeCost must be at most ${MAX_WORK}, got ${memoryCost * timeCost}`)
}

function isWeaker (stored: Parameters, { memoryCost, timeCost, parallelism }: Required<Argon2idOptions>): boolean {
  return stored.version !== 19 ||
    stored.memoryKiB < memoryCost || stored.time < timeCost || stored.parallelism < parallelism ||
    stored.saltBytes < OWN_SALT_BYTES || stored.outputBytes < OWN_OUTPUT_BYTES
}

/** The parameters of a stored hash. `null` if it is not in PHC form, is damaged or exceeds a bound. Without `v=` the version is 16. */
function parseArgon2 (stored: string): Parameters | null {
  const [, kind, version = '16', memory, time, parallelism, salt, output] = PHC.exec(stored) ?? []
  if (kind === undefined || salt === undefined || output === undefined) return null
  const saltBytes = fromBase64(salt, { padded: false })?.length ?? 0
  const outputBytes = fromBase64(output, { padded: false })?.length ?? 0
  const parameters = { kind, version: Number(version), memoryKiB: Number(memory), time: Number(time), parallelism: Number(parallelism), saltBytes, outputBytes }
  return isWithin(saltBytes, SALT_BYTES) && isWithin(outputBytes, OUTPUT_BYTES) && isComputable(parameters) ? parameters : null
}

function isComputable ({ memoryKiB, time, parallelism }: Parameters): boolean {
  return isWithin(memoryKiB, { min: 8 * parallelism, max: MAX_MEMORY_KIB }) &&
    isWithin(time, TIME) && isWithin(parallelism, PARALLELISM) && memoryKiB * time <= MAX_WORK
}
