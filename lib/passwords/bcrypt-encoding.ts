import { createHmac } from 'node:crypto'
import { isWithin } from './limits.js'

/** log2 of the rounds. What is stored and asks for more is refused, not computed: each step doubles the time. */
export const COSTS = { min: 4, max: 16 }

/** bcrypt reads no further than this, the NUL at the end of a password included. */
export const BCRYPT_BYTES = 72

const PLAIN = /^\$2[aby]\$(\d\d)\$([./A-Za-z0-9]{22})[./A-Za-z0-9]{31}$/
const PREHASHED = /^\$bcrypt-sha256\$v=2,t=2b,r=([1-9]\d?)\$([./A-Za-z0-9]{22})\$[./A-Za-z0-9]{31}$/
const PLAIN_OR_DJANGO = /^(bcrypt\$)?\$2[abxy]\$/

export interface BcryptParameters {
  isPrehashed: boolean
  cost: number
  salt: string
}

/** What a stored hash asks for; `null` if it is no bcrypt hash or its cost is out of bounds. */
export function parseBcrypt (stored: string): BcryptParameters | null {
  const plain = PLAIN.exec(stored)
  const [, cost, salt] = plain ?? PREHASHED.exec(stored) ?? []
  if (cost === undefined || salt === undefined || !isWithin(Number(cost), COSTS)) return null
  return { isPrehashed: plain === null, cost: Number(cost), salt }
}

/** Whether bcrypt would cut the password off, or take it for another: with the NUL at its end it has 72 bytes, which repeat. */
export function needsPrehash (password: string): boolean {
  return Buffer.byteLength(password) >= BCRYPT_BYTES || password.includes('\0')
}

/** Whether a match may have left the end of the password unread. */
export function mayCutOff (password: string, stored: string): boolean {
  return PLAIN_OR_DJANGO.test(stored) && needsPrehash(password)
}

/** What passlib's `bcrypt_sha256`, version 2, gives to bcrypt: base64 of HMAC-SHA-256 of the password under the salt. */
export function prehash (password: string, salt: string): string {
  return createHmac('sha256', salt).update(password).digest('base64')
}

export function bcryptSalt ({ cost, salt }: { cost: number, salt: string }): string {
  return `$2b$${String(cost).padStart(2, '0')}$${salt}`
}

/** passlib's encoding of a pre-hashed bcrypt hash. */
export function encodePrehashed (hash: string, { cost, salt }: { cost: number, salt: string }): string {
  return `$bcrypt-sha256$v=2,t=2b,r=${cost}$${salt}$${hash.slice(-31)}`
}
