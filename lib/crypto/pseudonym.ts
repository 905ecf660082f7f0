import { createHmac } from 'node:crypto'
import type { ServerKey } from './seal.js'

/**
 * Replaces a string that must not be stored (a typed username may be a password): base64url HMAC-SHA-256 under the server key,
 * which Redis does not know. A string has a different pseudonym for each purpose.
 */
export type Pseudonym = (purpose: 'account' | 'address' | 'captcha' | 'name' | 'spelling', text: string) => Promise<string>

/** Pseudonyms under the server key, so that an attacker who reads Redis cannot try names. @throws the errors of reading the key */
export function createPseudonyms (serverKey: ServerKey): Pseudonym {
  return async (purpose, text) => createHmac('sha256', await serverKey.load()).update(`${purpose}\0${text}`).digest('base64url')
}
