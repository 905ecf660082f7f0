import { fromBase64 } from '../crypto/compare.js'
import { isWithin } from './limits.js'

/** What is computed at most. RFC 9106's second choice (64 MiB, 3 passes) and Django's 100 MiB with 2 passes are far within. */
export const ARGON2_LIMITS = {
  memoryKiB: 262_144,
  time: { min: 1, max: 16 },
  parallelism: { min: 1, max: 16 },
  /** Memory times passes: about two seconds of one core. */
  work: 1_048_576
}
const SALT_BYTES = { min: 8, max: 48 }
const OUTPUT_BYTES = { min: 16, max: 64 }
const PHC = /^\$(argon2id|argon2i|argon2d)\$(?:v=(16|19)\$)?m=([1-9]\d{0,6}),t=([1-9]\d?),p=([1-9]\d?)\$([A-Za-z0-9+/]{11,64})\$([A-Za-z0-9+/]{22,86})$/

export interface Argon2Parameters {
  kind: string
  version: number
  memoryKiB: number
  time: number
  parallelism: number
  saltBytes: number
  outputBytes: number
}

export function isComputable ({ memoryKiB, time, parallelism }: { memoryKiB: number, time: number, parallelism: number }): boolean {
  const { time: times, parallelism: lanes, work } = ARGON2_LIMITS
  return isWithin(memoryKiB, { min: 8 * parallelism, max: ARGON2_LIMITS.memoryKiB }) &&
    isWithin(time, times) && isWithin(parallelism, lanes) && memoryKiB * time <= work
}

/** What a stored hash in PHC form asks for; `null` if it is none, damaged or out of bounds. Without `v=` the version is 16. */
export function parseArgon2 (stored: string): Argon2Parameters | null {
  const [, kind, version = '16', memory, time, parallelism, salt, output] = PHC.exec(stored) ?? []
  if (kind === undefined || salt === undefined || output === undefined) return null
  const saltBytes = fromBase64(salt, { padded: false })?.length ?? 0
  const outputBytes = fromBase64(output, { padded: false })?.length ?? 0
  const parameters = { kind, version: Number(version), memoryKiB: Number(memory), time: Number(time), parallelism: Number(parallelism), saltBytes, outputBytes }
  return isWithin(saltBytes, SALT_BYTES) && isWithin(outputBytes, OUTPUT_BYTES) && isComputable(parameters) ? parameters : null
}
