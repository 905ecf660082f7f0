import { withDeadline } from '../tools/deadline.js'
import { PASSWORD_BREACHED, PASSWORD_REFUSED, UNAVAILABLE } from '../errors.js'
import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'
import type { BreachedPasswords, PasswordRule } from '../../types/passwords.js'
import { atMostEvery } from '../tools/quiet-log.js'
import { redactSecrets } from '../tools/redact.js'

/** Throws where the password breaks the rule. */
export type OutsideRule = (password: string, username: string) => Promise<void>

const QUIET_MS = 60_000

/** The host's own rule. Without an answer nothing is accepted: @throws `FST_TOKEN_AUTH_UNAVAILABLE` */
export function createHostRule (rule: PasswordRule, timeoutMs: number): OutsideRule {
  const expired = () => new Error(`password.check took longer than ${timeoutMs} ms`)
  return async (password, username) => {
    const ask = async () => readAnswer(await rule(password, { username }))
    const fault = await withDeadline(ask(), { timeoutMs, expired })
      .catch((error) => { throw new UNAVAILABLE({ cause: redactSecrets(error, password) }) })
    if (fault !== '') throw new PASSWORD_REFUSED(fault)
  }
}

// `true` may mean "good" or "wrong": nobody knows, so it is no answer.
function readAnswer (answer: unknown): string {
  if (typeof answer === 'string') return answer
  if (answer === null || answer === undefined) return ''
  throw new Error(`password.check must return a text or nothing, not a value of type ${typeof answer}`)
}

export interface BreachedRuleSettings {
  timeoutMs: number
  logger: Logger
  monotonicNow: Now
}

/** A list that cannot be asked accepts: a service far away may not keep people from changing a password. It is logged once a minute. */
export function createBreachedRule (list: BreachedPasswords, { timeoutMs, logger, monotonicNow }: BreachedRuleSettings): OutsideRule {
  const expired = () => new Error(`no answer within ${timeoutMs} ms`)

  const warn = atMostEvery(QUIET_MS, (error: unknown, password: string) => {
    logger.warn({ reason: redactSecrets(error, password).message }, 'New passwords are accepted without a look at the list of breached ones')
  }, monotonicNow)

  return async (password) => {
    const question = new AbortController()
    const ask = async () => await list.isBreached(password, question.signal)
    const isBreached = await withDeadline(ask(), { timeoutMs, expired })
      .catch((error) => { warn(error, password); return false })
      .finally(() => question.abort())
    if (isBreached) throw new PASSWORD_BREACHED()
  }
}
