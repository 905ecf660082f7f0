import { INVALID_OPTION } from '../errors.js'
import { callable, duration, integer, list, nullable, refuse, text } from '../option-rules.js'
import type { Rule } from '../option-rules.js'
import type { Now } from '../../types/ports.js'

export interface RecaptchaOptions {
  /** The site's secret key. */
  secret: string
  /** 2, the default, or 3. */
  version?: 2 | 3
  /** Version 3 only: the action that the page names; `'login'` by default. */
  action?: string
  /** Version 3 only: the least score, from 0 to 1; 0.5 by default. */
  minScore?: number
  /** The hosts of the pages that answers may come from; without it, any that the key is good for. */
  hostnames?: readonly string[] | null
  /** How old a solved captcha may be; `'2m'` by default, `null`: as old as Google allows. */
  maxAge?: string | number | null
  /** Where to ask, instead of Google's own address. */
  url?: string
  /** For the whole question; 3000 by default. */
  timeoutMs?: number
  now?: Now
}

interface Entry { fallback: unknown, rule: Rule<any> }

const OPTIONS = {
  secret: { fallback: undefined, rule: secret },
  version: { fallback: 2, rule: version },
  action: { fallback: 'login', rule: text('an action such as "login", of letters, digits, _ and /', /^[\w/]{1,100}$/) },
  minScore: { fallback: 0.5, rule: score },
  hostnames: { fallback: null, rule: nullable(list(text('a host name', /^[\w.-]{1,253}$/), { min: 1 })) },
  maxAge: { fallback: '2m', rule: nullable(duration({ min: 1000 })) },
  url: { fallback: 'https://www.google.com/recaptcha/api/siteverify', rule: url },
  timeoutMs: { fallback: 3000, rule: integer({ min: 1, max: 60_000 }) },
  now: { fallback: Date.now, rule: callable<Now>() }
} satisfies Record<keyof RecaptchaOptions, Entry>

type Values = { [Name in keyof typeof OPTIONS]: ReturnType<typeof OPTIONS[Name]['rule']> }

export type RecaptchaSettings = ReturnType<typeof readRecaptchaOptions>

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option */
export function readRecaptchaOptions (options: RecaptchaOptions) {
  refuseUnknown(options)
  const entries = Object.entries(OPTIONS).map(([name, { fallback, rule }]) => {
    const given = options[name as keyof RecaptchaOptions]
    return [name, (rule as Rule<unknown>)(given === undefined ? fallback : given, `captcha.${name}`)]
  })
  const { maxAge: maxAgeMs, ...values } = Object.fromEntries(entries) as Values
  if (values.version === 2) refuseScoring(options)
  return Object.freeze({ ...values, maxAgeMs, hostnames: values.hostnames?.map((name) => name.toLowerCase()) ?? null })
}

// What is there instead may be the secret, so it is not shown.
function refuseUnknown (options: object): void {
  if (typeof options !== 'object' || options === null) throw new INVALID_OPTION('captcha must be made with an object: recaptcha({ secret })')
  const unknown = Object.keys(options).find((name) => !(name in OPTIONS))
  if (unknown !== undefined) throw new INVALID_OPTION(`Unknown option "captcha.${unknown}"; there are: ${Object.keys(OPTIONS).join(', ')}`)
}

// Who sets them believes that they are looked at.
function refuseScoring (options: RecaptchaOptions): void {
  for (const name of ['action', 'minScore'] as const) {
    if (options[name] !== undefined) throw new INVALID_OPTION(`captcha.${name} needs version: 3, as version 2 knows no scores`)
  }
}

// Its value is not shown.
function secret (value: unknown): string {
  if (typeof value === 'string' && /^[!-~]{1,200}$/.test(value)) return value
  throw new INVALID_OPTION(`captcha.secret must be the secret key of the site, got ${typeof value === 'string' ? 'another text' : `a value of type ${typeof value}`}`)
}

function version (value: unknown, path: string): 2 | 3 {
  return value === 2 || value === 3 ? value : refuse(path, '2 or 3', value)
}

function score (value: unknown, path: string): number {
  return typeof value === 'number' && value >= 0 && value <= 1 ? value : refuse(path, 'a number from 0 to 1', value)
}

// The secret is sent there; unencrypted only where nobody can listen.
function url (value: unknown, path: string): string {
  const { protocol, hostname } = typeof value === 'string' && URL.canParse(value) ? new URL(value) : { protocol: '', hostname: '' }
  const isLocal = protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  return protocol === 'https:' || isLocal ? value as string : refuse(path, 'an https URL', value)
}
