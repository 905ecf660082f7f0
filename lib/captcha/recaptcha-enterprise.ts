import { INVALID_OPTION } from '../errors.js'
import { httpsUrl, isPlainObject, nullable, text } from '../options/rules.js'
import type { Captcha, CaptchaVerdict } from '../../types/captcha.js'
import { askProvider, isOurFault, statusOf } from './request.js'
import type { Reply } from './request.js'
import { judge, refused } from './verdict.js'
import type { Demands } from './verdict.js'
import { commonEntries, readCaptchaOptions, score, secretKey } from './options.js'
import type { CommonCaptchaOptions } from './options.js'
import { recaptchaAction } from './recaptcha-options.js'

export interface RecaptchaEnterpriseOptions extends CommonCaptchaOptions {
  /** An API key of the project, best one that is good for this API only. */
  apiKey: string
  /** The Google Cloud project. */
  projectId: string
  /** The site key of the page. */
  siteKey: string
  /** The action that the page names; `'login'` by default, `null`: any, as with a checkbox key, whose pages name none. */
  action?: string | null
  /** The least score, from 0 to 1; 0.5 by default. */
  minScore?: number
}

const API = 'https://recaptchaenterprise.googleapis.com/v1/projects'

const OPTIONS = {
  apiKey: { fallback: undefined, rule: secretKey('an API key of the project') },
  projectId: { fallback: undefined, rule: text('the id of a Google Cloud project', /^[a-z\d][a-z\d.:-]{0,99}$/) },
  siteKey: { fallback: undefined, rule: text('a site key', /^[\w-]{1,100}$/) },
  action: { fallback: 'login', rule: nullable(recaptchaAction) },
  minScore: { fallback: 0.5, rule: score },
  ...commonEntries({ url: API, maxAge: '2m' }),
  url: { fallback: null, rule: nullable(httpsUrl) }
}

/**
 * Google reCAPTCHA Enterprise, with score or checkbox keys. `verify` rejects if Google cannot be asked, or refuses key or project.
 * https://cloud.google.com/recaptcha/docs/reference/rest/v1/projects.assessments
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`, naming the option
 */
export function recaptchaEnterprise (options: RecaptchaEnterpriseOptions): Captcha {
  const settings = readCaptchaOptions(OPTIONS, options, 'recaptchaEnterprise({ apiKey, projectId, siteKey })')
  const { apiKey, projectId, siteKey, action, timeoutMs, when, afterFailures, onUnavailable } = settings
  const url = settings.url ?? `${API}/${projectId}/assessments`
  const fixed = { siteKey, ...(action === null ? {} : { expectedAction: action }) }
  return {
    when,
    afterFailures,
    onUnavailable,
    async verify (answer, { ip, signal }) {
      if (answer === '') return refused('missing')
      const event = { ...fixed, token: answer, ...(ip === null ? {} : { userIpAddress: ip }) }
      const reply = await askProvider({ url, headers: { 'x-goog-api-key': apiKey }, body: { event }, timeoutMs, signal }).catch(rethrow)
      return judgeAssessment(reply, settings)
    }
  }
}

function rethrow (error: Error): never {
  const status = statusOf(error)
  // A bad answer of a visitor is told with 200; 400 speaks of the key or the project.
  if (status !== 400 && !isOurFault(status)) throw error
  throw new INVALID_OPTION(`captcha.apiKey, captcha.projectId or captcha.siteKey is wrong: reCAPTCHA Enterprise answered ${status}`)
}

// The action is compared here too: Google tells another one as invalid only with keys of one kind.
function judgeAssessment ({ tokenProperties, riskAnalysis }: Reply, demands: Demands): CaptchaVerdict {
  const { valid, invalidReason, hostname, createTime, action } = isPlainObject(tokenProperties) ? tokenProperties : {}
  if (valid !== true) return refused(toCode(invalidReason))
  const score = isPlainObject(riskAnalysis) ? riskAnalysis['score'] : undefined
  return judge({ hostname, solvedAt: createTime, action, score }, demands)
}

/** `BROWSER_ERROR` in the spelling of the other codes. */
function toCode (reason: unknown): string | null {
  return typeof reason === 'string' ? reason.toLowerCase().replaceAll('_', '-') : null
}
