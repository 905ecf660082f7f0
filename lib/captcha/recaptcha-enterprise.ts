import { INVALID_OPTION } from '../errors.js'
import { entry, httpsUrl, isObject, nullable, text } from '../options/rules.js'
import type { Captcha, CaptchaVerdict } from '../../types/captcha.js'
import { commonEntries, readCaptchaOptions, score, secretKey } from './options.js'
import type { CommonCaptchaOptions } from './options.js'
import { recaptchaAction } from './recaptcha.js'
import { isMisconfigured, postToProvider, statusOf } from './request.js'
import type { JsonObject } from './request.js'
import { refused, verdictOf } from './verdict.js'
import type { Expectations } from './verdict.js'

export interface RecaptchaEnterpriseOptions extends CommonCaptchaOptions {
  /** An API key of the project, preferably restricted to this API. */
  apiKey: string
  /** The id of the Google Cloud project. */
  projectId: string
  /** The site key of the page. */
  siteKey: string
  /** The action that the page names. Default: `'login'`. `null`: any, as for a checkbox key, whose pages name none. */
  action?: string | null
  /** The lowest score that passes, from 0 to 1. Default: 0.5. */
  minScore?: number
}

const API = 'https://recaptchaenterprise.googleapis.com/v1/projects'

const OPTIONS = {
  apiKey: entry(undefined, secretKey('an API key of the project')),
  projectId: entry(undefined, text('the id of a Google Cloud project', /^[a-z\d][a-z\d.:-]{0,99}$/)),
  siteKey: entry(undefined, text('a site key', /^[\w-]{1,100}$/)),
  action: entry('login', nullable(recaptchaAction)),
  minScore: entry(0.5, score),
  ...commonEntries({ url: API, maxAge: '2m' }),
  url: entry(null, nullable(httpsUrl))
}

/**
 * Google reCAPTCHA Enterprise, with score or checkbox keys. `verify` rejects if Google cannot be reached or refuses the key or the project.
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
      const reply = await postToProvider({ url, headers: { 'x-goog-api-key': apiKey }, body: { event }, timeoutMs, signal }).catch(rethrow)
      return verdictOnAssessment(reply, settings)
    }
  }
}

function rethrow (error: Error): never {
  const status = statusOf(error)
  // For a visitor's bad answer the status is 200. 400 means a wrong key or project.
  if (status !== 400 && !isMisconfigured(status)) throw error
  throw new INVALID_OPTION(`captcha.apiKey, captcha.projectId or captcha.siteKey is wrong: reCAPTCHA Enterprise answered ${status}`)
}

// The action is compared here too, because Google compares it for some kinds of keys only.
function verdictOnAssessment ({ tokenProperties, riskAnalysis }: JsonObject, expected: Expectations): CaptchaVerdict {
  const { valid, invalidReason, hostname, createTime, action } = isObject(tokenProperties) ? tokenProperties : {}
  if (valid !== true) return refused(toCode(invalidReason))
  const score = isObject(riskAnalysis) ? riskAnalysis['score'] : undefined
  return verdictOf({ hostname, solvedAt: createTime, action, score }, expected)
}

/** `BROWSER_ERROR` in the spelling of the other codes. */
function toCode (reason: unknown): string | null {
  return typeof reason === 'string' ? reason.toLowerCase().replaceAll('_', '-') : null
}
