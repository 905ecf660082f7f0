import { createHash } from 'node:crypto'
import { INVALID_OPTION } from '../errors.js'
import { boolean, duration, httpsUrl, integer, refuse, text } from '../options/rules.js'
import { ask } from '../tools/bounded-fetch.js'
import type { Duration } from '../../types/options.js'
import type { BreachedPasswords } from '../../types/passwords.js'

export interface HaveIBeenPwnedOptions {
  /** Where to ask, instead of Have I Been Pwned: a copy that answers alike. The first five digits of the hash are put behind it. */
  url?: string
  /** For the whole question, at most 5 s; `'2s'` by default. */
  timeout?: Duration
  /** How often a password must have been seen in breaches; 1 by default. */
  minCount?: number
  /** Whether answers are filled up to hide their length; `true` by default. */
  padding?: boolean
  /** `'fastify-token-auth'` by default. */
  userAgent?: string
}

const PATH = 'password.breached'
const DEFAULTS = { url: 'https://api.pwnedpasswords.com/range/', timeout: '2s', minCount: 1, padding: true, userAgent: 'fastify-token-auth' }
/** Padded answers have 800 to 1000 lines of some 40 bytes; 256 KiB leave room for growth. */
const MAX_BYTES = 256 * 1024
const LINE = /^([0-9A-F]{35}):(\d{1,15})$/

/**
 * Passwords of known breaches, by the range API of Have I Been Pwned: the first five hex digits of the SHA-1 leave
 * the process, and nothing else. `isBreached` rejects where there is no clear answer.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function haveIBeenPwned (options: HaveIBeenPwnedOptions = {}): BreachedPasswords {
  const { url, timeoutMs, minCount, headers } = readSettings(options)
  return {
    async isBreached (password, signal) {
      const hash = createHash('sha1').update(password).digest('hex').toUpperCase()
      const { text: answer } = await ask({ peer: 'the list of breached passwords', url: url + hash.slice(0, 5), headers, mediaType: 'text/plain', maxBytes: MAX_BYTES, timeoutMs, signal })
      return countOf(hash.slice(5), answer) >= minCount
    }
  }
}

// Padded lines count 0. A page of a proxy is no answer, but does not hide a hit.
function countOf (suffix: string, answer: string): number {
  const lines = answer.trim().split(/\r?\n/).map((line) => LINE.exec(line.toUpperCase()))
  const found = lines.find((line) => line?.[1] === suffix)
  if (found) return Number(found[2])
  if (lines.includes(null)) throw new Error('the list of breached passwords answered something else than hashes')
  return 0
}

function readSettings (options: HaveIBeenPwnedOptions) {
  refuseUnknown(options)
  const { url, timeout, minCount, padding, userAgent } = { ...DEFAULTS, ...withoutUndefined(options) }
  return {
    url: rangeUrl(url, `${PATH}.url`),
    timeoutMs: duration({ min: 1, max: 5000 })(timeout, `${PATH}.timeout`),
    minCount: integer({ min: 1, max: 1_000_000_000 })(minCount, `${PATH}.minCount`),
    headers: {
      'user-agent': text('1 to 200 printable ASCII characters', /^[!-~][ -~]{0,199}$/)(userAgent, `${PATH}.userAgent`),
      ...boolean()(padding, `${PATH}.padding`) ? { 'add-padding': 'true' } : {}
    }
  }
}

function refuseUnknown (options: object): void {
  if (typeof options !== 'object' || options === null) throw new INVALID_OPTION(`${PATH} must be made with an object: haveIBeenPwned({ timeout: '2s' })`)
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(DEFAULTS, name))
  if (unknown !== undefined) throw new INVALID_OPTION(`Unknown option "${PATH}.${unknown}"; there are: ${Object.keys(DEFAULTS).join(', ')}`)
}

function withoutUndefined (options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

function rangeUrl (value: unknown, path: string): string {
  const url = httpsUrl(value, path)
  if (/[?#]/.test(url)) return refuse(path, 'an https URL without a query', value, 'one with a query')
  return url.endsWith('/') ? url : `${url}/`
}
