import { INVALID_OPTION } from '../errors.js'
import { callable, duration, httpsUrl, integer, list, nullable, oneOf, refuse, text } from '../options/rules.js'
import type { Rule } from '../options/rules.js'
import type { Captcha } from '../../types/captcha.js'
import type { Now } from '../../types/options.js'

/** What the options of all providers have in common. */
export interface CommonCaptchaOptions extends Pick<Captcha, 'when' | 'afterFailures' | 'onUnavailable'> {
  /** The hosts of the pages that answers may come from; without it, any that the key is good for. */
  hostnames?: readonly string[] | null
  /** How old a solved captcha may be; `'2m'` by default, with Turnstile `'5m'`; `null`: as old as the provider allows. */
  maxAge?: string | number | null
  /** Where to ask, instead of the provider's own address. */
  url?: string
  /** For the whole question; 3000 by default. */
  timeoutMs?: number
  now?: Now
}

interface Entry { fallback: unknown, rule: Rule<any> }

type Table = Record<string, Entry> & { maxAge: { fallback: unknown, rule: Rule<number | null> } }

/** A table's values as the code uses them: `maxAge` has become `maxAgeMs`. */
export type SettingsOf<T extends Table> = Readonly<{ [Name in Exclude<keyof T, 'maxAge'>]: ReturnType<T[Name]['rule']> } & { maxAgeMs: number | null }>

const hosts = list(text('a host name', /^[\w.-]{1,253}$/), { min: 1 })

/** The entries that every provider's table has. */
export function commonEntries ({ url, maxAge }: { url: string, maxAge: string }) {
  return {
    hostnames: { fallback: null, rule: nullable<readonly string[]>((value, path) => hosts(value, path).map((name) => name.toLowerCase())) },
    maxAge: { fallback: maxAge, rule: nullable(duration({ min: 1000 })) },
    url: { fallback: url, rule: httpsUrl },
    timeoutMs: { fallback: 3000, rule: integer({ min: 1, max: 60_000 }) },
    now: { fallback: Date.now, rule: callable<Now>() },
    when: { fallback: 'always', rule: oneOf('always', 'after-failures') },
    afterFailures: { fallback: 3, rule: integer({ min: 1, max: 100 }) },
    onUnavailable: { fallback: 'refuse', rule: oneOf('refuse', 'allow') }
  }
}

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option */
export function readCaptchaOptions<T extends Table> (table: T, options: object, example: string): SettingsOf<T> {
  refuseUnknown(table, options, example)
  const entries = Object.entries(table).map(([name, { fallback, rule }]) => {
    const given = (options as Record<string, unknown>)[name]
    return [name, rule(given === undefined ? fallback : given, `captcha.${name}`)]
  })
  const { maxAge: maxAgeMs, ...values } = Object.fromEntries(entries)
  return Object.freeze({ ...values, maxAgeMs })
}

// What is there instead may be the secret, so it is not shown.
function refuseUnknown (table: Table, options: object, example: string): void {
  if (typeof options !== 'object' || options === null) throw new INVALID_OPTION(`captcha must be made with an object: ${example}`)
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(table, name))
  if (unknown !== undefined) throw new INVALID_OPTION(`Unknown option "captcha.${unknown}"; there are: ${Object.keys(table).join(', ')}`)
}

/**
 * A key that is never shown. The `published` ones, which providers give out for tests and with which anybody passes,
 * are refused in production.
 */
export function secretKey (expected: string, published: readonly string[] = []): Rule<string> {
  return (value, path) => {
    if (typeof value !== 'string') return refuse(path, expected, value, `a value of type ${typeof value}`)
    if (!/^[!-~]{1,200}$/.test(value)) return refuse(path, expected, value, 'another text')
    const isPublic = published.includes(value) && process.env['NODE_ENV'] === 'production'
    return isPublic ? refuse(path, `${expected} where NODE_ENV is production`, value, 'a public one for tests') : value
  }
}

export function score (value: unknown, path: string): number {
  return typeof value === 'number' && value >= 0 && value <= 1 ? value : refuse(path, 'a number from 0 to 1', value)
}
