import { createHmac } from 'node:crypto'
import type { ServerKey } from './seal.js'

/**
 * What stands for a text that may not be kept (a typed username may be a password): HMAC-SHA-256 under a key
 * that all servers share and Redis does not know, base64url. One text has another pseudonym for each purpose.
 */
export type Pseudonym = (purpose: 'account' | 'address' | 'captcha' | 'name' | 'spelling', text: string) => Promise<string>

/** Pseudonyms under the servers' shared key, so that whoever reads Redis cannot try names. @throws what reading the key does */
export function createPseudonyms (serverKey: ServerKey): Pseudonym {
  return async (purpose, text) => createHmac('sha256', await serverKey.load()).update(`${purpose}\0${text}`).digest('base64url')
}
