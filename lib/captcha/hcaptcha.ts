import { entry, nullable, text } from '../options/rules.js'
import type { Captcha } from '../../types/captcha.js'
import { commonEntries, readCaptchaOptions, secretKey } from './options.js'
import type { CommonCaptchaOptions } from './options.js'
import { createSiteverify } from './siteverify.js'

export interface HcaptchaOptions extends CommonCaptchaOptions {
  /** The account's secret. */
  secret: string
  /** The site key of the page. hCaptcha then refuses answers to another key of the account. */
  siteKey?: string | null
}

// https://docs.hcaptcha.com/#integration-testing-test-keys
const TEST_KEYS = ['0x0000000000000000000000000000000000000000']

const OPTIONS = {
  secret: entry(undefined, secretKey('the secret of the account', TEST_KEYS)),
  siteKey: entry(null, nullable(text('a site key', /^[\w-]{1,100}$/))),
  ...commonEntries({ url: 'https://api.hcaptcha.com/siteverify', maxAge: '2m' })
}

/**
 * hCaptcha. `verify` rejects if hCaptcha cannot be reached or does not know the secret.
 * https://docs.hcaptcha.com/#verify-the-user-response-server-side
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function hcaptcha (options: HcaptchaOptions): Captcha {
  const settings = readCaptchaOptions(OPTIONS, options, 'hcaptcha({ secret })')
  return createSiteverify({ name: 'hCaptcha', testKeys: TEST_KEYS, ...settings, action: null, minScore: null })
}
