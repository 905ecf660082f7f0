import { INVALID_OPTION } from '../errors.js'
import { entry, refuse, text } from '../options/rules.js'
import type { Captcha } from '../../types/captcha.js'
import { commonEntries, readCaptchaOptions, score, secretKey } from './options.js'
import type { CommonCaptchaOptions } from './options.js'
import { createSiteverify } from './siteverify.js'

export interface RecaptchaOptions extends CommonCaptchaOptions {
  /** The site's secret key. */
  secret: string
  /** 2 or 3. Default: 2. */
  version?: 2 | 3
  /** Version 3 only: the action that the page names. Default: `'login'`. */
  action?: string
  /** Version 3 only: the lowest score that passes, from 0 to 1. Default: 0.5. */
  minScore?: number
}

// https://developers.google.com/recaptcha/docs/faq: every visitor passes with this key.
const TEST_KEYS = ['6LeIxAcTAAAAAGG-vFI1TnRWxMZNFuojJ4WifJWe']

/** An action of reCAPTCHA: letters, digits, underscores and slashes. */
export const recaptchaAction = text('an action such as "login", of letters, digits, _ and /', /^[\w/]{1,100}$/)

const OPTIONS = {
  secret: entry(undefined, secretKey('the secret key of the site', TEST_KEYS)),
  version: entry(2, version),
  action: entry('login', recaptchaAction),
  minScore: entry(0.5, score),
  ...commonEntries({ url: 'https://www.google.com/recaptcha/api/siteverify', maxAge: '2m' })
}

/**
 * Google reCAPTCHA, version 2 or 3. `verify` rejects if Google cannot be reached or does not know the secret.
 * https://developers.google.com/recaptcha/docs/verify
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function recaptcha (options: RecaptchaOptions): Captcha {
  const { version, ...settings } = readCaptchaOptions(OPTIONS, options, 'recaptcha({ secret })')
  if (version === 2) refuseScoring(options)
  const scoring = version === 3 ? {} : { action: null, minScore: null }
  return createSiteverify({ name: 'reCAPTCHA', testKeys: TEST_KEYS, ...settings, ...scoring })
}

// Version 2 would ignore them, and the host would believe that they are checked.
function refuseScoring (options: RecaptchaOptions): void {
  for (const name of ['action', 'minScore'] as const) {
    if (options[name] !== undefined) throw new INVALID_OPTION(`captcha.${name} needs version: 3, because version 2 has no scores`)
  }
}

function version (value: unknown, path: string): 2 | 3 {
  return value === 2 || value === 3 ? value : refuse(path, '2 or 3', value)
}
