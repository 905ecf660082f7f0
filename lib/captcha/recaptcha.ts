import type { Captcha } from '../../types/captcha.js'
import { readRecaptchaOptions } from './recaptcha-options.js'
import type { RecaptchaOptions } from './recaptcha-options.js'
import { createSiteverify } from './siteverify.js'

/**
 * Google reCAPTCHA, version 2 or 3. `verify` rejects if Google cannot be asked, or calls the secret wrong.
 * https://developers.google.com/recaptcha/docs/verify
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function recaptcha (options: RecaptchaOptions): Captcha {
  const { version, ...settings } = readRecaptchaOptions(options)
  const scoring = version === 3 ? {} : { action: null, minScore: null }
  return createSiteverify({ name: 'reCAPTCHA', ...settings, ...scoring })
}
