import { createHmac, timingSafeEqual } from 'node:crypto'
import bcryptjs from 'bcryptjs'
import type { Hasher } from '../../types/ports.js'
import { createBcryptThreads } from './bcrypt-threads.js'

export interface BcryptOptions {
  /** log2 of the rounds, 4 to 16; 12 by default (a quarter of a second). */
  cost?: number
}

/** bcrypt reads no further than this; what is longer is hashed first. */
const BCRYPT_BYTES = 72
/** A stored hash that asks for more is refused, not computed: each step doubles the time. */
const HIGHEST_COST = 16
const PLAIN = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/
const PREHASHED = /^\$bcrypt-sha256\$v=2,t=2b,r=(\d{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})$/

/**
 * bcrypt, in worker threads. Passwords over 72 bytes are stored in passlib's `bcrypt_sha256` encoding, version 2
 * (bcrypt of the base64 HMAC-SHA-256 of the password under the salt), so nothing of them is cut off.
 * Plain bcrypt hashes of other software verify as they did there.
 */
export function bcrypt ({ cost = 12 }: BcryptOptions = {}): Hasher {
  if (!Number.isInteger(cost) || cost < 4 || cost > HIGHEST_COST) throw new RangeError(`bcrypt's cost must be an integer from 4 to 16, got ${cost}`)
  const threads = createBcryptThreads()

  async function prehashed (password: string, salt: string, rounds: number): Promise<string> {
    const key = createHmac('sha256', salt).update(password).digest('base64')
    const hash = await threads.hash(key, `$2b$${String(rounds).padStart(2, '0')}$${salt}`)
    return `$bcrypt-sha256$v=2,t=2b,r=${rounds}$${salt}$${hash.slice(-31)}`
  }

  async function hash (password: string): Promise<string> {
    const salt = await bcryptjs.genSalt(cost)
    return isLong(password) ? await prehashed(password, salt.slice(-22), cost) : await threads.hash(password, salt)
  }

  async function verify (password: string, stored: string): Promise<boolean> {
    const [, cost] = PLAIN.exec(stored) ?? []
    if (cost !== undefined) return Number(cost) <= HIGHEST_COST && await threads.compare(password, stored)
    const [, rounds, salt] = PREHASHED.exec(stored) ?? []
    if (rounds === undefined || salt === undefined || Number(rounds) > HIGHEST_COST) return false
    return isSame(await prehashed(password, salt, Number(rounds)), stored)
  }

  return {
    hash,
    verify,
    close: threads.close,
    needsRehash (stored) {
      const rounds = (PLAIN.exec(stored) ?? PREHASHED.exec(stored))?.[1]
      return rounds === undefined || Number(rounds) < cost
    }
  }
}

function isLong (password: string): boolean {
  return Buffer.byteLength(password) > BCRYPT_BYTES
}

function isSame (one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
}
