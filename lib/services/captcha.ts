import type { Pseudonym } from '../crypto/pseudonym.js'
import { createBreaker } from '../tools/breaker.js'
import { withDeadline } from '../tools/deadline.js'
import { atMostEvery, onceAnOutage } from '../tools/quiet-log.js'
import { withRetryAfter } from '../tools/retry-after.js'
import { createSemaphore } from '../tools/semaphore.js'
import { CAPTCHA_REFUSED, CAPTCHA_REQUIRED, CAPTCHA_UNAVAILABLE } from '../errors.js'
import { redactSecrets } from '../tools/redact.js'
import type { Logger } from '../ports.js'
import type { FailureCounters } from '../throttle/failure-counters.js'
import type { Captcha } from '../../types/captcha.js'
import type { Now } from '../../types/options.js'
import { monotonicNow as processNow } from '../tools/monotonic.js'

export interface CaptchaCheck {
  /** Whether an account with this number of failures needs a captcha. */
  isWanted (failures: number): boolean
  /**
   * Resolves to `'waived'` if the provider does not answer and the options admit the account without a captcha.
   * @throws `FST_TOKEN_AUTH_CAPTCHA_REQUIRED`, `FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE`, and `FST_TOKEN_AUTH_CAPTCHA_REFUSED`
   * with the provider's reason as its `detail`
   */
  check (answer: string | undefined, context: { ip: string | null, failures: number }): Promise<'solved' | 'waived'>
}

interface QuestionSettings {
  logger: Logger
  /** A monotonic clock, in milliseconds. */
  monotonicNow?: Now
  /** Total time, from waiting for a slot to the verdict; 3000 by default. */
  timeoutMs?: number
}

export interface CaptchaCheckSettings extends QuestionSettings {
  captcha: Required<Captcha> | null
  useOnce: FailureCounters['useOnce']
  pseudonym: Pseudonym
}

type Outcome = { failure: null, verdict: unknown } | { failure: 'misconfigured' | 'overloaded' | 'down', error: unknown }

/** Longer than the answers of any provider are valid; those of Turnstile are for 5 minutes. */
const CLAIM_MS = 10 * 60_000
const QUIET_MS = 10_000
const RETRY_AFTER_SECONDS = 5
const CODE = /^[\w .:/-]{1,64}$/

/**
 * Checks each answer once. Distinguishes an outage of the provider from a refusal, and from a mistake in the options,
 * with which no login is accepted.
 */
export function createCaptchaCheck ({ captcha, useOnce, pseudonym, ...settings }: CaptchaCheckSettings): CaptchaCheck {
  if (captcha === null) return { isWanted: () => false, check: async () => 'waived' }
  const { when, afterFailures, onUnavailable, isReusable } = captcha
  const ask = createQuestion(captcha, settings)

  return {
    isWanted: (failures) => when === 'always' || failures >= afterFailures,
    async check (answer = '', { ip, failures }) {
      if (answer === '') throw new CAPTCHA_REQUIRED()
      // Before the provider is called: of two requests with the same answer, on whichever servers, one succeeds.
      if (!isReusable && !await useOnce(await pseudonym('captcha', answer), CLAIM_MS)) throw refused('replayed', answer)
      const outcome = await ask(answer, ip)
      if (outcome.failure === 'down' && onUnavailable === 'allow' && failures < afterFailures) return 'waived'
      if (outcome.failure !== null) throw unavailable(outcome.error)
      if (isSolved(outcome.verdict)) return 'solved'
      throw refused((outcome.verdict as { reason?: unknown } | null | undefined)?.reason, answer)
    }
  }
}

/** Calls the provider with a timeout, a concurrency limit and a circuit breaker. Never rejects. */
function createQuestion (captcha: Captcha, { logger, monotonicNow = processNow, timeoutMs = 3000 }: QuestionSettings) {
  const breaker = createBreaker({ now: monotonicNow })
  const outage = onceAnOutage((reason: string) => logger.warn({ reason }, 'captcha: the provider cannot be reached'))
  const misconfigured = atMostEvery(QUIET_MS, ({ message }: Error) => {
    logger.error({ reason: message }, 'captcha: the secret or another option is wrong, so that no captcha can be solved')
  }, monotonicNow)
  // A longer wait would leave the provider too little time.
  const places = createSemaphore({ concurrency: 32, queue: 64, maxWaitMs: timeoutMs / 3, overloaded: () => new Error('too many captchas are being checked') })

  // The call ends here even if the provider never answers: otherwise its slot would be lost.
  async function verify (answer: string, ip: string | null, leftMs: number): Promise<unknown> {
    const stop = new AbortController()
    const verdict = (async () => await captcha.verify(answer, { ip, signal: stop.signal }))()
    const expired = () => {
      stop.abort()
      return new CAPTCHA_UNAVAILABLE({ cause: new Error('the captcha provider took too long') })
    }
    return await withDeadline<unknown>(verdict, { timeoutMs: leftMs, expired })
  }

  async function askNow (answer: string, ip: string | null, leftMs: number): Promise<Outcome> {
    if (!breaker.allows()) return { failure: 'down', error: new Error('the captcha provider has failed, and is not called for a while') }
    try {
      const verdict = await verify(answer, ip, leftMs)
      succeeded()
      return { failure: null, verdict }
    } catch (error) {
      return failed(error, answer)
    }
  }

  function succeeded (): void {
    breaker.succeeded()
    outage.succeeded()
  }

  function failed (error: unknown, answer: string): Outcome {
    if (codeOf(error) === 'FST_TOKEN_AUTH_INVALID_OPTION') {
      // The provider is up: it has answered.
      succeeded()
      misconfigured(error as Error)
      return { failure: 'misconfigured', error }
    }
    breaker.failed()
    outage.failed(describe(error, answer))
    return { failure: 'down', error: redactSecrets(causeOf(error), answer) }
  }

  return async (answer: string, ip: string | null): Promise<Outcome> => {
    const startedAt = monotonicNow()
    return await places.run(() => askNow(answer, ip, timeoutMs - (monotonicNow() - startedAt)))
      .catch((error) => ({ failure: 'overloaded', error }))
  }
}

// Only the plugin's own messages are known to contain no body; an application may put anything into such an error.
function describe (error: unknown, answer: string): string {
  const cause = causeOf(error)
  const text = cause === error ? codeOf(error) ?? (error as Error | null | undefined)?.name ?? 'unknown' : cause
  return redactSecrets(text, answer).message
}

/** The cause of an error of the built-in providers, otherwise the error itself. */
function causeOf (error: unknown): unknown {
  const isWrapped = codeOf(error) === 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' && (error as Error).cause instanceof Error
  return isWrapped ? (error as Error).cause : error
}

function codeOf (error: unknown): unknown {
  return (error as { code?: unknown } | null | undefined)?.code
}

function isSolved (verdict: unknown): boolean {
  return verdict === true || (verdict as { ok?: unknown } | null | undefined)?.ok === true
}

// A function of the application may return any string as reason, and a provider may echo the answer.
function refused (reason: unknown, answer: string): Error {
  const detail = typeof reason === 'string' && CODE.test(reason) && !fold(reason).includes(fold(answer)) ? reason : 'refused'
  return Object.assign(new CAPTCHA_REFUSED(), { detail })
}

/** Providers spell codes in two ways. */
function fold (text: string): string {
  return text.toLowerCase().replaceAll('_', '-')
}

function unavailable (cause: unknown): Error {
  return withRetryAfter(new CAPTCHA_UNAVAILABLE({ cause }), RETRY_AFTER_SECONDS)
}
