import { PASSWORD_COMMON, PASSWORD_HAS_CONTEXT_WORD, PASSWORD_HAS_USERNAME, PASSWORD_MALFORMED, PASSWORD_TOO_LONG, PASSWORD_TOO_SHORT, PASSWORD_UNCHANGED } from '../errors.js'
import type { Logger } from '../ports.js'
import type { Now } from '../../types/options.js'
import type { BreachedPasswords, PasswordRule } from '../../types/passwords.js'
import { isCommon } from './common-passwords.js'
import { createBreachedRule, createHostRule } from './external-rules.js'
import { monotonicNow as processNow } from '../tools/monotonic.js'

export interface PasswordPolicy {
  /** @throws `FST_TOKEN_AUTH_PASSWORD_*`, one code for each rule; `FST_TOKEN_AUTH_UNAVAILABLE` if the host's own rule gives no answer */
  check (password: string, context: { username: string, current?: string }): Promise<void>
}

export interface PasswordPolicySettings {
  /** Code points. */
  minLength: number
  /** Code points. */
  maxLength: number
  /** Refuse common passwords. */
  common: boolean
  contextWords: readonly string[]
  breached: BreachedPasswords | null
  check: PasswordRule | null
  logger: Logger
  monotonicNow?: Now
  /** Time limit of the host's own rule. Default: 3000. */
  checkTimeoutMs?: number
  /** Time limit of `breached`, in addition to its own. Default: 6000. */
  breachedTimeoutMs?: number
}

/** Storage would change these (NUL, lone surrogates), or a decoder already has (U+FFFD). */
const MALFORMED = /[\0\uD800-\uDFFF\uFFFD]/u
/** Shorter usernames occur in many passwords by coincidence. */
const MIN_CONTAINED_LENGTH = 4

/**
 * The rules for new passwords. The cheap ones come first: a password that breaks one is never sent elsewhere.
 * No rule asks for kinds of characters (NIST SP 800-63B 3.1.1.2; ASVS 5.0 6.2.1, 6.2.4, 6.2.5, 6.2.9, 6.2.11, 6.2.12).
 */
export function createPasswordPolicy (settings: PasswordPolicySettings): PasswordPolicy {
  const { minLength, maxLength, common } = settings
  const contextWords = settings.contextWords.map(fold)
  const externalRules = createExternalRules(settings)
  return {
    async check (typed, { username, current }) {
      refuseHuge(typed, maxLength)
      // What is hashed: RFC 8265.
      const password = typed.normalize('NFC')
      refuseForm(password, minLength, maxLength)
      if (hasUsername(password, username)) throw new PASSWORD_HAS_USERNAME()
      const folded = fold(password)
      if (contextWords.some((word) => folded.includes(word))) throw new PASSWORD_HAS_CONTEXT_WORD()
      if (password === current?.normalize('NFC')) throw new PASSWORD_UNCHANGED()
      if (common && await isCommon(password)) throw new PASSWORD_COMMON()
      for (const refuse of externalRules) await refuse(password, username)
    }
  }
}

function createExternalRules ({ check, breached, logger, monotonicNow = processNow, checkTimeoutMs = 3000, breachedTimeoutMs = 6000 }: PasswordPolicySettings) {
  return [
    ...check === null ? [] : [createHostRule(check, checkTimeoutMs)],
    ...breached === null ? [] : [createBreachedRule(breached, { timeoutMs: breachedTimeoutMs, logger, monotonicNow })]
  ]
}

// A code point has at most two UTF-16 units, and at most four code points are composed to one: a much longer text need not be normalized.
function refuseHuge (typed: string, maxLength: number): void {
  if (typed.length > 8 * maxLength) throw new PASSWORD_TOO_LONG(maxLength)
}

function refuseForm (password: string, minLength: number, maxLength: number): void {
  if (MALFORMED.test(password)) throw new PASSWORD_MALFORMED()
  const length = [...password].length
  if (length < minLength) throw new PASSWORD_TOO_SHORT(minLength)
  if (length > maxLength) throw new PASSWORD_TOO_LONG(maxLength)
}

/** The same text for all spellings that look or read the same. */
function fold (text: string): string {
  return text.normalize('NFKC').toLowerCase()
}

/**
 * Whether a password equals the username, is contained in it, or contains it (NIST SP 800-63B 3.1.1.2; ASVS 5.0 6.2.11). If the username
 * is an e-mail address, the part before the @ and the labels of the domain count as well. Case and compatibility forms do not matter.
 */
function hasUsername (password: string, username: string): boolean {
  const typed = fold(password)
  const name = fold(username)
  if (name.includes(typed)) return true
  return [name, ...emailParts(name)].some((part) => [...part].length >= MIN_CONTAINED_LENGTH && typed.includes(part))
}

function emailParts (name: string): string[] {
  const at = name.lastIndexOf('@')
  return at === -1 ? [] : [name.slice(0, at), ...name.slice(at + 1).split('.')]
}
