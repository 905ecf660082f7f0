import { INVALID_OPTION } from '../errors.js'
import type { Captcha, CaptchaVerdict } from '../../types/ports.js'
import { askProvider } from './ask-provider.js'
import { readRecaptchaOptions } from './recaptcha-options.js'
import type { RecaptchaOptions, RecaptchaSettings } from './recaptcha-options.js'

type Reply = Record<string, unknown>

/** Error codes that speak of the secret, not of the visitor. */
const OUR_FAULT = ['missing-input-secret', 'invalid-input-secret']

/**
 * Google reCAPTCHA, version 2 or 3. `verify` rejects if Google cannot be asked, or calls the secret wrong.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function recaptcha (options: RecaptchaOptions): Captcha {
  const settings = readRecaptchaOptions(options)
  return {
    async verify (answer, { ip, signal }) {
      if (answer === '') return refused('missing-input-response')
      const form = new URLSearchParams({ secret: settings.secret, response: answer, ...(ip === null ? {} : { remoteip: ip }) })
      const reply = await askProvider({ url: settings.url, form, timeoutMs: settings.timeoutMs, signal })
      return reply['success'] === true ? judge(reply, settings) : refused(reasonOf(reply))
    }
  }
}

function judge (reply: Reply, settings: RecaptchaSettings): CaptchaVerdict {
  const fault = findFault(reply, settings) ?? (settings.version === 3 ? findScoreFault(reply, settings) : null)
  return fault === null ? { ok: true } : refused(fault)
}

// A time that cannot be read compares as false, and so is not young enough.
function findFault ({ hostname, challenge_ts: solvedAt }: Reply, { hostnames, maxAgeMs, now }: RecaptchaSettings): string | null {
  if (hostnames !== null && !hostnames.includes(String(hostname).toLowerCase())) return 'wrong-hostname'
  return maxAgeMs === null || now() - Date.parse(String(solvedAt)) <= maxAgeMs ? null : 'too-old'
}

function findScoreFault ({ action, score }: Reply, settings: RecaptchaSettings): string | null {
  if (action !== settings.action) return 'wrong-action'
  return typeof score === 'number' && score >= settings.minScore ? null : 'low-score'
}

function reasonOf ({ 'error-codes': codes }: Reply): string {
  const reasons: unknown[] = Array.isArray(codes) ? codes : []
  if (reasons.some((code) => OUR_FAULT.includes(code as string))) throw new INVALID_OPTION('captcha.secret is wrong: reCAPTCHA does not know it')
  return String(reasons[0] ?? 'refused')
}

function refused (reason: string): CaptchaVerdict {
  return { ok: false, reason }
}
