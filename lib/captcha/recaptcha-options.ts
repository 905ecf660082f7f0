import { INVALID_OPTION } from '../errors.js'
import { refuse, text } from '../options/rules.js'
import { commonEntries, readCaptchaOptions, score, secretKey } from './options.js'
import type { CommonCaptchaOptions, SettingsOf } from './options.js'

export interface RecaptchaOptions extends CommonCaptchaOptions {
  /** The site's secret key. */
  secret: string
  /** 2, the default, or 3. */
  version?: 2 | 3
  /** Version 3 only: the action that the page names; `'login'` by default. */
  action?: string
  /** Version 3 only: the least score, from 0 to 1; 0.5 by default. */
  minScore?: number
}

// https://developers.google.com/recaptcha/docs/faq: with it, everybody passes.
const PUBLISHED = ['6LeIxAcTAAAAAGG-vFI1TnRWxMZNFuojJ4WifJWe']

/** An action of reCAPTCHA: letters, digits, underscores and slashes. */
export const recaptchaAction = text('an action such as "login", of letters, digits, _ and /', /^[\w/]{1,100}$/)

const OPTIONS = {
  secret: { fallback: undefined, rule: secretKey('the secret key of the site', PUBLISHED) },
  version: { fallback: 2, rule: version },
  action: { fallback: 'login', rule: recaptchaAction },
  minScore: { fallback: 0.5, rule: score },
  ...commonEntries({ url: 'https://www.google.com/recaptcha/api/siteverify', maxAge: '2m' })
}

/** @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option */
export function readRecaptchaOptions (options: RecaptchaOptions): SettingsOf<typeof OPTIONS> {
  const settings = readCaptchaOptions(OPTIONS, options, 'recaptcha({ secret })')
  if (settings.version === 2) refuseScoring(options)
  return settings
}

// Who sets them believes that they are looked at.
function refuseScoring (options: RecaptchaOptions): void {
  for (const name of ['action', 'minScore'] as const) {
    if (options[name] !== undefined) throw new INVALID_OPTION(`captcha.${name} needs version: 3, as version 2 knows no scores`)
  }
}

function version (value: unknown, path: string): 2 | 3 {
  return value === 2 || value === 3 ? value : refuse(path, '2 or 3', value)
}
