import { CAPTCHA_UNAVAILABLE, INVALID_OPTION } from '../errors.js'
import type { Captcha } from '../../types/captcha.js'
import { askProvider, isOurFault, statusOf } from './request.js'
import type { Reply } from './request.js'
import { judge, refused } from './verdict.js'
import type { Demands } from './verdict.js'

export interface SiteverifySettings extends Demands, Required<Pick<Captcha, 'when' | 'afterFailures' | 'onUnavailable'>> {
  /** The provider, as errors name it. */
  name: string
  secret: string
  /** Sent along, where the provider compares it itself. */
  siteKey?: string | null
  url: string
  timeoutMs: number
}

/** Codes that speak of the secret, not of the visitor. */
const OUR_FAULT = ['missing-input-secret', 'invalid-input-secret']

/**
 * The protocol that reCAPTCHA has set and others speak too: a form with secret and answer, answered by
 * `{ success, hostname, challenge_ts, action, score, 'error-codes' }`.
 */
export function createSiteverify (settings: SiteverifySettings): Captcha {
  const { name, secret, siteKey = null, url, timeoutMs, when, afterFailures, onUnavailable } = settings
  const fixed = { secret, ...(siteKey === null ? {} : { sitekey: siteKey }) }
  return {
    when,
    afterFailures,
    onUnavailable,
    async verify (answer, { ip, signal }) {
      if (answer === '') return refused('missing-input-response')
      const body = new URLSearchParams({ ...fixed, response: answer, ...(ip === null ? {} : { remoteip: ip }) })
      const reply = await askProvider({ url, body, statuses: [200, 400], timeoutMs, signal }).catch((error) => asReply(error, name))
      const codes = codesOf(reply, name)
      if (reply['success'] !== true || codes.length > 0) return refused(codes.find((code) => code !== secret))
      return judge({ hostname: reply['hostname'], solvedAt: reply['challenge_ts'], action: reply['action'], score: reply['score'] }, settings)
    }
  }
}

// The answer is all that a visitor chooses in a question: a bad one is his fault, and no failure of the provider.
// Nor is it an outage where nobody answers such questions: then the address or the secret is wrong.
function asReply (error: Error, name: string): Reply {
  const status = statusOf(error)
  if (status === 400) return { success: false, 'error-codes': ['bad-request'] }
  if (isOurFault(status)) throw new INVALID_OPTION(`captcha.url or captcha.secret is wrong: ${name} answered ${status}`)
  throw error
}

function codesOf ({ 'error-codes': given }: Reply, name: string): unknown[] {
  const codes = Array.isArray(given) ? given : [given ?? []].flat()
  if (codes.some((code) => OUR_FAULT.includes(code))) throw new INVALID_OPTION(`captcha.secret is wrong: ${name} does not know it`)
  if (codes.includes('internal-error')) throw new CAPTCHA_UNAVAILABLE({ cause: new Error('the captcha provider had an internal error') })
  return codes
}
