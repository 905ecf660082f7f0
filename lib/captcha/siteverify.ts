import { CAPTCHA_UNAVAILABLE, INVALID_OPTION } from '../errors.js'
import type { Captcha } from '../../types/captcha.js'
import type { CaptchaPolicy } from './options.js'
import { isMisconfigured, postToProvider, statusOf } from './request.js'
import type { JsonObject } from './request.js'
import { refused, verdictOf } from './verdict.js'
import type { Expectations } from './verdict.js'

export interface SiteverifySettings extends Expectations, CaptchaPolicy {
  /** The provider's name in errors. */
  name: string
  secret: string
  /** Sent with the request, for providers that compare it themselves. */
  siteKey?: string | null
  /** The provider's published test keys. Their answers are always the same, and name no page, action or score. */
  testKeys: readonly string[]
  url: string
  timeoutMs: number
}

/** Codes that mean a wrong secret, not a wrong answer. */
const MISCONFIGURED = ['missing-input-secret', 'invalid-input-secret']

/**
 * The protocol of reCAPTCHA, which other providers use too: a form with the secret and the answer, and the response
 * `{ success, hostname, challenge_ts, action, score, 'error-codes' }`.
 */
export function createSiteverify (settings: SiteverifySettings): Captcha {
  const { name, secret, siteKey = null, testKeys, url, timeoutMs, when, afterFailures, onUnavailable } = settings
  const isTest = testKeys.includes(secret)
  const fixed = { secret, ...(siteKey === null ? {} : { sitekey: siteKey }) }
  return {
    when,
    afterFailures,
    onUnavailable,
    isReusable: isTest,
    async verify (answer, { ip, signal }) {
      if (answer === '') return refused('missing-input-response')
      const body = new URLSearchParams({ ...fixed, response: answer, ...(ip === null ? {} : { remoteip: ip }) })
      const reply = await postToProvider({ url, body, statuses: [200, 400], timeoutMs, signal }).catch((error) => asReply(error, name))
      const codes = codesOf(reply, name)
      if (reply['success'] !== true || codes.length > 0) return refused(codes.find((code) => code !== secret))
      if (isTest) return { ok: true }
      return verdictOf({ hostname: reply['hostname'], solvedAt: reply['challenge_ts'], action: reply['action'], score: reply['score'] }, settings)
    }
  }
}

// A visitor chooses only the answer, so 400 means a bad answer and not a failure of the provider. A status such as 404 is not an outage
// either: the URL or the secret is wrong.
function asReply (error: Error, name: string): JsonObject {
  const status = statusOf(error)
  if (status === 400) return { success: false, 'error-codes': ['bad-request'] }
  if (isMisconfigured(status)) throw new INVALID_OPTION(`captcha.url or captcha.secret is wrong: ${name} answered ${status}`)
  throw error
}

function codesOf ({ 'error-codes': given }: JsonObject, name: string): unknown[] {
  const codes = Array.isArray(given) ? given : [given ?? []].flat()
  if (codes.some((code) => MISCONFIGURED.includes(code))) throw new INVALID_OPTION(`captcha.secret is wrong: ${name} rejected it`)
  if (codes.includes('internal-error')) throw new CAPTCHA_UNAVAILABLE({ cause: new Error('the captcha provider had an internal error') })
  return codes
}
