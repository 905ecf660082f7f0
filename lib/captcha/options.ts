import { callable, duration, entry, httpsUrl, integer, list, nullable, oneOf, readTable, refuse, text } from '../options/rules.js'
import type { Rule, Table } from '../options/rules.js'
import type { Captcha, CaptchaOption } from '../../types/captcha.js'
import type { Now } from '../../types/options.js'

/** The options that all providers have in common. */
export interface CommonCaptchaOptions extends Pick<Captcha, 'when' | 'afterFailures' | 'onUnavailable'> {
  /** The hosts of the pages on which a captcha may be solved. Default: every host that the key allows. */
  hostnames?: readonly string[] | null
  /** How long ago a captcha may have been solved. Default: `'2m'`, for Turnstile `'5m'`. `null`: as long as the provider allows. */
  maxAge?: string | number | null
  /** An address to use in place of the provider's own. */
  url?: string
  /** Limit of the whole request. Default: 3000. */
  timeoutMs?: number
  now?: Now
}

/** When a captcha is needed, and whether logins are possible while the provider is down. */
export type CaptchaPolicy = Required<Pick<Captcha, 'when' | 'afterFailures' | 'onUnavailable'>>

const POLICY = {
  when: entry('always', oneOf('always', 'after-failures')),
  afterFailures: entry(3, integer({ min: 1, max: 100 })),
  onUnavailable: entry('refuse', oneOf('refuse', 'allow'))
}

const hosts = list(text('a host name', /^[\w.-]{1,253}$/), { min: 1 })

/**
 * The option `captcha` with every default filled in. Factories have checked their policy already, but an object of the host's own has
 * not been checked.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function readCaptcha (option: CaptchaOption): Required<Captcha> {
  const captcha: Captcha = typeof option === 'function' ? { verify: option } : option
  const { when, afterFailures, onUnavailable, isReusable = false } = captcha
  const policy = readTable<CaptchaPolicy>(POLICY, { when, afterFailures, onUnavailable }, { prefix: 'captcha.' })
  return Object.freeze({ ...policy, isReusable, verify: (answer, context) => captcha.verify(answer, context) })
}

/** The entries that every provider's table has. */
export function commonEntries ({ url, maxAge }: { url: string, maxAge: string }) {
  return {
    hostnames: entry(null, nullable<readonly string[]>((value, path) => hosts(value, path).map((name) => name.toLowerCase()))),
    maxAge: entry(maxAge, nullable(duration({ min: 1000 }))),
    url: entry(url, httpsUrl),
    timeoutMs: entry(3000, integer({ min: 1, max: 60_000 })),
    now: entry(Date.now, callable<Now>()),
    ...POLICY
  }
}

/**
 * A provider's options with every default filled in. `maxAge` becomes `maxAgeMs`.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function readCaptchaOptions<Values extends { maxAge: number | null }> (table: Table<Values>, options: object, example: string): Readonly<Omit<Values, 'maxAge'> & { maxAgeMs: number | null }> {
  const { maxAge: maxAgeMs, ...values } = readTable<Values>(table, options, { prefix: 'captcha.', example })
  return Object.freeze({ ...values, maxAgeMs })
}

/**
 * A key that is never shown. Providers publish some keys for tests, with which every visitor passes; these `published` ones are refused
 * in production.
 */
export function secretKey (expected: string, published: readonly string[] = []): Rule<string> {
  return (value, path) => {
    if (typeof value !== 'string') return refuse(path, expected, value, `a value of type ${typeof value}`)
    if (!/^[!-~]{1,200}$/.test(value)) return refuse(path, expected, value, 'another string')
    const isPublic = published.includes(value) && process.env['NODE_ENV'] === 'production'
    return isPublic ? refuse(path, `${expected} where NODE_ENV is production`, value, 'a public test key') : value
  }
}

/** A reCAPTCHA score. */
export function score (value: unknown, path: string): number {
  return typeof value === 'number' && value >= 0 && value <= 1 ? value : refuse(path, 'a number from 0 to 1', value)
}
