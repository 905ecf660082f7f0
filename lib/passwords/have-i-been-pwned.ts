import { createHash } from 'node:crypto'
import { boolean, duration, entry, httpsUrl, integer, readTable, refuse, text } from '../options/rules.js'
import { boundedFetch } from '../tools/bounded-fetch.js'
import type { Duration } from '../../types/options.js'
import type { BreachedPasswords } from '../../types/passwords.js'

export interface HaveIBeenPwnedOptions {
  /** The address of another service with the same API. The first five digits of the hash are appended. */
  url?: string
  /** Limit of the whole request, at most 5 s. Default: `'2s'`. */
  timeout?: Duration
  /** How often a password must occur in breaches to be refused. Default: 1. */
  minCount?: number
  /** Whether the service pads its responses, to hide their length. Default: `true`. */
  padding?: boolean
  /** Default: `'fastify-token-auth'`. */
  userAgent?: string
}

const OPTIONS = {
  url: entry('https://api.pwnedpasswords.com/range/', rangeUrl),
  timeout: entry('2s', duration({ min: 1, max: 5000 })),
  minCount: entry(1, integer({ min: 1, max: 1_000_000_000 })),
  padding: entry(true, boolean()),
  userAgent: entry('fastify-token-auth', text('1 to 200 printable ASCII characters', /^[!-~][ -~]{0,199}$/))
}
const AT = { prefix: 'password.breached.', example: "haveIBeenPwned({ timeout: '2s' })" }
/** Padded responses have 800 to 1000 lines of some 40 bytes. 256 KiB leave room for growth. */
const MAX_BYTES = 256 * 1024
const LINE = /^([0-9A-F]{35}):(\d{1,15})$/

/**
 * Knows passwords of public breaches, by the range API of Have I Been Pwned. Only the first five hex digits of the SHA-1
 * leave the process. `isBreached` rejects if there is no clear answer.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function haveIBeenPwned (options: HaveIBeenPwnedOptions = {}): BreachedPasswords {
  const { url, timeoutMs, minCount, headers } = readSettings(options)
  return {
    async isBreached (password, signal) {
      const hash = createHash('sha1').update(password).digest('hex').toUpperCase()
      const { text: answer } = await boundedFetch({ service: 'the list of breached passwords', url: url + hash.slice(0, 5), headers, mediaType: 'text/plain', maxBytes: MAX_BYTES, timeoutMs, signal })
      return countOf(hash.slice(5), answer) >= minCount
    }
  }
}

// Padding lines have the count 0. Other text, such as a proxy's page, is an error unless a line matches.
function countOf (suffix: string, answer: string): number {
  const lines = answer.trim().split(/\r?\n/).map((line) => LINE.exec(line.toUpperCase()))
  const found = lines.find((line) => line?.[1] === suffix)
  if (found) return Number(found[2])
  if (lines.includes(null)) throw new Error('the list of breached passwords answered something else than hashes')
  return 0
}

function readSettings (options: HaveIBeenPwnedOptions) {
  const { url, timeout, minCount, padding, userAgent } = readTable(OPTIONS, options, AT)
  const headers = { 'user-agent': userAgent, ...padding ? { 'add-padding': 'true' } : {} }
  return { url, timeoutMs: timeout, minCount, headers }
}

function rangeUrl (value: unknown, path: string): string {
  const url = httpsUrl(value, path)
  if (/[?#]/.test(url)) return refuse(path, 'an https URL without a query', value, 'one with a query')
  return url.endsWith('/') ? url : `${url}/`
}
