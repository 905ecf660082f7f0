import { entry, nullable, text } from '../options/rules.js'
import type { Captcha } from '../../types/captcha.js'
import { commonEntries, readCaptchaOptions, secretKey } from './options.js'
import type { CommonCaptchaOptions } from './options.js'
import { createSiteverify } from './siteverify.js'

export interface TurnstileOptions extends CommonCaptchaOptions {
  /** The widget's secret key. */
  secret: string
  /** The action that the page gives the widget. Default: any. */
  action?: string | null
}

// https://developers.cloudflare.com/turnstile/troubleshooting/testing/
const TEST_KEYS = ['1', '2', '3'].map((digit) => `${digit}x${'0'.repeat(31)}AA`)

const OPTIONS = {
  secret: entry(undefined, secretKey('the secret key of the widget', TEST_KEYS)),
  action: entry(null, nullable(text('an action such as "login", of letters, digits, _ and -', /^[\w-]{1,32}$/))),
  ...commonEntries({ url: 'https://challenges.cloudflare.com/turnstile/v0/siteverify', maxAge: '5m' })
}

/**
 * Cloudflare Turnstile. `verify` rejects if Cloudflare cannot be reached or does not know the secret.
 * https://developers.cloudflare.com/turnstile/get-started/server-side-validation/
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function turnstile (options: TurnstileOptions): Captcha {
  const settings = readCaptchaOptions(OPTIONS, options, 'turnstile({ secret })')
  return createSiteverify({ name: 'Turnstile', testKeys: TEST_KEYS, ...settings, minScore: null })
}
