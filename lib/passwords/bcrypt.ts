import { createHmac } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { isSame } from '../crypto/compare.js'
import { entry, integer, isWithin, readTable } from '../options/rules.js'
import { refuseBundle } from '../tools/bundled.js'
import type { Hasher, PasswordVerifier } from '../../types/passwords.js'
import { createBcryptThreads } from './bcrypt-threads.js'
import type { BcryptThreads } from './bcrypt-threads.js'

export interface BcryptOptions {
  /** log2 of the rounds, 4 to 16. Default: 12 (a quarter of a second). */
  cost?: number
  /** The most worker threads, 1 to 256. Default: one for each core, at most 8. `hashing.concurrency` bounds how many are in use. */
  threads?: number
}

interface Salt { cost: number, salt: string }
interface Parameters extends Salt { isPrehashed: boolean }

/** Each step doubles the time. A stored hash with a higher cost is refused, not computed. */
const COSTS = { min: 4, max: 16 }
/** bcrypt reads at most this many bytes, including the NUL at the end of a password. */
const BCRYPT_BYTES = 72
/** Each thread costs some megabytes, and a machine with more cores has other work than logins. */
const MAX_THREADS = 8
const PLAIN = /^\$2[aby]\$(\d\d)\$([./A-Za-z0-9]{22})[./A-Za-z0-9]{31}$/
const PREHASHED = /^\$bcrypt-sha256\$v=2,t=2b,r=([1-9]\d?)\$([./A-Za-z0-9]{22})\$[./A-Za-z0-9]{31}$/
const PLAIN_OR_DJANGO = /^(bcrypt\$)?\$2[abxy]\$/

const OPTIONS = {
  cost: entry(12, integer(COSTS)),
  threads: entry(defaultThreads(), integer({ min: 1, max: 256 }))
}
const AT = { prefix: 'bcrypt: ', owner: 'bcrypt()' }

/**
 * bcrypt, in worker threads. Passwords of 72 bytes and more are stored in passlib's `bcrypt_sha256` encoding, version 2
 * (bcrypt of the base64 HMAC-SHA-256 of the password, keyed with the salt), so they are not truncated.
 * Plain bcrypt hashes of other software verify as they did there.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, also in a bundle, which has no file for the threads
 */
export function bcrypt (options: BcryptOptions = {}): Hasher {
  refuseBundle('bcrypt()')
  const { cost, threads } = readTable<Required<BcryptOptions>>(OPTIONS, options, AT)
  const pool = createBcryptThreads({ threads })

  return {
    ...createBcryptVerifier(pool),
    async hash (password) {
      const { default: bcryptjs } = await import('bcryptjs')
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

/** Verifies plain bcrypt hashes (`$2a$`, `$2b$`, `$2y$`) and passlib's `bcrypt_sha256`, version 2. The caller closes the threads. */
export function createBcryptVerifier (threads: BcryptThreads): PasswordVerifier {
  return {
    understands: (stored) => parseBcrypt(stored) !== null,
    async verify (password, stored) {
      const parameters = parseBcrypt(stored)
      if (parameters === null) return false
      // bcrypt stops at a NUL, so it would accept other passwords that begin the same way.
      if (!parameters.isPrehashed) return await threads.compare(password, stored) && !password.includes('\0')
      const hash = await threads.hash(prehash(password, parameters.salt), encodeSalt(parameters))
      return isSame(Buffer.from(encodePrehashed(hash, parameters)), Buffer.from(stored))
    }
  }
}

export function defaultThreads (): number {
  return Math.min(availableParallelism(), MAX_THREADS)
}

/** Whether bcrypt may have matched without reading the end of the password. */
export function mayBeTruncated (password: string, stored: string): boolean {
  return PLAIN_OR_DJANGO.test(stored) && needsPrehash(password)
}

/** Whether bcrypt would truncate the password or confuse it with another: 72 bytes with the NUL at the end repeat. */
function needsPrehash (password: string): boolean {
  return Buffer.byteLength(password) >= BCRYPT_BYTES || password.includes('\0')
}

/** The input of bcrypt in passlib's `bcrypt_sha256`, version 2. */
function prehash (password: string, salt: string): string {
  return createHmac('sha256', salt).update(password).digest('base64')
}

/** The parameters of a stored hash. `null` if it is not a bcrypt hash or its cost is out of bounds. */
function parseBcrypt (stored: string): Parameters | null {
  const plain = PLAIN.exec(stored)
  const [, cost, salt] = plain ?? PREHASHED.exec(stored) ?? []
  if (cost === undefined || salt === undefined || !isWithin(Number(cost), COSTS)) return null
  return { isPrehashed: plain === null, cost: Number(cost), salt }
}

function encodeSalt ({ cost, salt }: Salt): string {
  return `$2b$${String(cost).padStart(2, '0')}$${salt}`
}

/** passlib's encoding of a pre-hashed bcrypt hash. */
function encodePrehashed (hash: string, { cost, salt }: Salt): string {
  return `$bcrypt-sha256$v=2,t=2b,r=${cost}$${salt}$${hash.slice(-31)}`
}
