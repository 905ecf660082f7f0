import { createHmac } from 'node:crypto'
import type { Pseudonym, ServerKey } from '../ports.js'

/** Pseudonyms under the servers' shared key, so that whoever reads Redis cannot try names. @throws what reading the key does */
export function createPseudonyms (serverKey: ServerKey): Pseudonym {
  return async (purpose, text) => createHmac('sha256', await serverKey.load()).update(`${purpose}\0${text}`).digest('base64url')
}
