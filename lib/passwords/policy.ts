import { PASSWORD_COMMON, PASSWORD_HAS_CONTEXT_WORD, PASSWORD_HAS_USERNAME, PASSWORD_MALFORMED, PASSWORD_TOO_LONG, PASSWORD_TOO_SHORT, PASSWORD_UNCHANGED } from '../errors.js'
import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'
import type { BreachedPasswords, PasswordRule } from '../../types/passwords.js'
import { isCommon } from './common-passwords.js'
import { createBreachedRule, createHostRule } from './external-rules.js'
import { fold, hasUsername } from './username-rule.js'

export interface PasswordPolicy {
  /** @throws `FST_TOKEN_AUTH_PASSWORD_*`, one code a rule; `FST_TOKEN_AUTH_UNAVAILABLE` where the host's own rule gives no answer */
  check (password: string, context: { username: string, current?: string }): Promise<void>
}

export interface PasswordPolicySettings {
  /** Code points. */
  minLength: number
  /** Code points. */
  maxLength: number
  /** Whether common passwords are refused. */
  common: boolean
  contextWords: readonly string[]
  breached: BreachedPasswords | null
  check: PasswordRule | null
  logger: Logger
  monotonicNow?: Now
  /** For the host's own rule; 3000 by default. */
  checkTimeoutMs?: number
  /** For `breached`, whatever time it takes for itself; 6000 by default. */
  breachedTimeoutMs?: number
}

/** Storage would change them (NUL, lone surrogates), or a decoder has already (U+FFFD). */
const MALFORMED = /[\0\uD800-\uDFFF\uFFFD]/u

/**
 * The rules for new passwords, cheap ones first: who breaks one of those is never asked about elsewhere.
 * There is none about kinds of characters (NIST SP 800-63B 3.1.1.2; ASVS 5.0 6.2.1, 6.2.4, 6.2.5, 6.2.9, 6.2.11, 6.2.12).
 */
export function createPasswordPolicy (settings: PasswordPolicySettings): PasswordPolicy {
  const { minLength, maxLength, common } = settings
  const contextWords = settings.contextWords.map(fold)
  const outsideRules = outsideRulesOf(settings)
  return {
    async check (password, { username, current }) {
      refuseForm(password, minLength, maxLength)
      if (hasUsername(password, username)) throw new PASSWORD_HAS_USERNAME()
      const folded = fold(password)
      if (contextWords.some((word) => folded.includes(word))) throw new PASSWORD_HAS_CONTEXT_WORD()
      if (password === current) throw new PASSWORD_UNCHANGED()
      if (common && await isCommon(password)) throw new PASSWORD_COMMON()
      for (const refuse of outsideRules) await refuse(password, username)
    }
  }
}

function outsideRulesOf ({ check, breached, logger, monotonicNow = () => performance.now(), checkTimeoutMs = 3000, breachedTimeoutMs = 6000 }: PasswordPolicySettings) {
  return [
    ...check === null ? [] : [createHostRule(check, checkTimeoutMs)],
    ...breached === null ? [] : [createBreachedRule(breached, { timeoutMs: breachedTimeoutMs, logger, monotonicNow })]
  ]
}

// Two UTF-16 units at most are one code point, so what is longer by far is not counted through.
function refuseForm (password: string, minLength: number, maxLength: number): void {
  if (password.length > 2 * maxLength) throw new PASSWORD_TOO_LONG(maxLength)
  if (MALFORMED.test(password)) throw new PASSWORD_MALFORMED()
  const length = [...password].length
  if (length < minLength) throw new PASSWORD_TOO_SHORT(minLength)
  if (length > maxLength) throw new PASSWORD_TOO_LONG(maxLength)
}
