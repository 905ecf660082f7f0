export type CaptchaVerdict = { ok: true } | { ok: false, reason: string }

export interface CaptchaContext { ip: string | null, signal: AbortSignal }

/** Checks a captcha answer. A rejection means that the provider did not answer. */
export interface Captcha {
  verify (answer: string, context: CaptchaContext): Promise<CaptchaVerdict | boolean>
  /** `'always'` (the default), or `'after-failures'`: only for accounts with failed logins. */
  readonly when?: 'always' | 'after-failures'
  /** Failed logins before `'after-failures'` applies; 3 by default. */
  readonly afterFailures?: number
  /** `'refuse'` (the default): 503 during an outage. `'allow'`: accounts with fewer failures than `afterFailures` log in without a captcha. */
  readonly onUnavailable?: 'refuse' | 'allow'
  /** Whether an answer may be used more than once. Only for tests: with a test key every visitor has the same answer. `false` by default. */
  readonly isReusable?: boolean
}

/** A provider, or its function `verify` alone. */
export type CaptchaOption = Captcha | Captcha['verify']
