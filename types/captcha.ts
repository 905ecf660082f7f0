export type CaptchaVerdict = { ok: true } | { ok: false, reason: string }

export interface CaptchaContext { ip: string | null, signal: AbortSignal }

/** Checks a captcha answer. A rejection means the provider can't be asked. */
export interface Captcha {
  verify (answer: string, context: CaptchaContext): Promise<CaptchaVerdict | boolean>
  /** `'always'`, the default, or only for accounts with failed logins. */
  readonly when?: 'always' | 'after-failures'
  /** With `'after-failures'`: how many; 3 by default. */
  readonly afterFailures?: number
  /** `'refuse'`, the default: 503. `'allow'`: accounts without so many failures log in without it. */
  readonly onUnavailable?: 'refuse' | 'allow'
}

/** `verify` alone will do. */
export type CaptchaOption = Captcha | Captcha['verify']
