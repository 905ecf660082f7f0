import { withDeadline } from '../tools/deadline.js'
import { PASSWORD_BREACHED, PASSWORD_REFUSED, UNAVAILABLE } from '../errors.js'
import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'
import type { BreachedPasswords, PasswordRule } from '../../types/passwords.js'
import { atMostEvery } from '../tools/quiet-log.js'
import { redactSecrets } from '../tools/redact.js'

/** Throws if the password breaks the rule. */
export type ExternalRule = (password: string, username: string) => Promise<void>

const REPORT_MS = 60_000

/** The host's own rule. Without an answer no password is accepted. @throws `FST_TOKEN_AUTH_UNAVAILABLE` */
export function createHostRule (rule: PasswordRule, timeoutMs: number): ExternalRule {
  const expired = () => new Error(`password.check took longer than ${timeoutMs} ms`)
  return async (password, username) => {
    const check = async () => readFault(await rule(password, { username }))
    const fault = await withDeadline(check(), { timeoutMs, expired })
      .catch((error) => { throw new UNAVAILABLE({ cause: redactSecrets(error, password) }) })
    if (fault !== '') throw new PASSWORD_REFUSED(fault)
  }
}

// `true` could mean "good" or "wrong", so it is not an answer.
function readFault (answer: unknown): string {
  if (typeof answer === 'string') return answer
  if (answer === null || answer === undefined) return ''
  throw new Error(`password.check must return a text or nothing, not a value of type ${typeof answer}`)
}

export interface BreachedRuleSettings {
  timeoutMs: number
  logger: Logger
  monotonicNow: Now
}

/**
 * Refuses passwords that the list knows. If the list does not answer, the password is accepted, because an outage of a remote service
 * must not keep users from changing a password. That is logged once a minute.
 */
export function createBreachedRule (list: BreachedPasswords, { timeoutMs, logger, monotonicNow }: BreachedRuleSettings): ExternalRule {
  const expired = () => new Error(`no answer within ${timeoutMs} ms`)
  const report = atMostEvery(REPORT_MS, (error: unknown, password: string) => {
    logger.warn({ reason: redactSecrets(error, password).message }, 'New passwords are accepted without a check against the list of breached passwords')
  }, monotonicNow)

  return async (password) => {
    const request = new AbortController()
    const check = async () => await list.isBreached(password, request.signal)
    const isBreached = await withDeadline(check(), { timeoutMs, expired })
      .catch((error) => { report(error, password); return false })
      .finally(() => request.abort())
    if (isBreached) throw new PASSWORD_BREACHED()
  }
}
