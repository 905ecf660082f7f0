import { RATE_LIMITED } from '../errors.js'
import type { AttemptRules, FailureCounters, Pseudonym, TokenStore } from '../ports.js'
import type { CaptchaCheck } from './captcha.js'

export interface Guarded {
  /** As it is looked up. */
  username: string
  ip: string | null
  /** The captcha's answer; absent where none can be asked for. */
  captcha?: { answer: string | undefined }
}

export interface AccountGuard {
  /**
   * Lets `evaluate` verify a password, if the account's attempts allow it. `null` from it counts as a failure, an error
   * as if nothing had been tried, and anything else forgets the failures.
   * @throws `FST_TOKEN_AUTH_RATE_LIMITED`, `FST_TOKEN_AUTH_CAPTCHA_*`
   */
  run<Result> (who: Guarded, evaluate: () => Promise<Result | null>): Promise<Result | null>
}

export interface AccountGuardSettings {
  rules: AttemptRules
  attempts: FailureCounters
  pseudonym: Pseudonym
  captcha: CaptchaCheck
  isKnownAddress: TokenStore['isKnownAddress']
  /** The network that an address stands for. */
  networkOf: (ip: string | null) => string
}

interface Taken { key: string, id: string, of: string }

const IGNORED = /[\p{M}\p{Default_Ignorable_Code_Point}\s]/gu

/**
 * One text for usernames that a database may take for the same: without case, accents, width, spaces and invisible
 * characters. An account with two counts would be guessed at twice the speed. Where two accounts share one, the success of
 * one forgets no failures of the other.
 */
export function toCountedName (username: string): string {
  return username.normalize('NFKD').replace(IGNORED, '').toUpperCase().toLowerCase().normalize('NFKD').replace(IGNORED, '')
}

/** Where nothing is limited and no captcha asks for the failures, none are counted. */
export const UNGUARDED: AccountGuard = { run: (_who, evaluate) => evaluate() }

/**
 * Slows down guessing at one account, known or not, from wherever it comes (ASVS 5.0 6.3.1; NIST SP 800-63B 3.2.2): an attempt is
 * counted before its password is looked at, so that parallel ones cannot overshoot. Over the limit it is not locked: who
 * solves the captcha, or comes from an address that has logged in to the account lately, is counted for himself.
 */
export function createAccountGuard (settings: AccountGuardSettings): AccountGuard {
  const { rules, attempts, pseudonym, captcha, isKnownAddress, networkOf } = settings

  async function take (key: string, of: string, taken: Taken[]) {
    const attempt = await attempts.take(key, rules, of)
    if (attempt.isAllowed) taken.push({ key, id: attempt.id, of })
    return attempt
  }

  async function isEntitled ({ username, ip }: Guarded, isSolved: boolean): Promise<boolean> {
    return isSolved || (ip !== null && await isKnownAddress(username, ip))
  }

  async function enter (who: Guarded, taken: Taken[]): Promise<void> {
    const name = toCountedName(who.username)
    const of = await pseudonym('spelling', who.username)
    const { isAllowed, failures, waitMs } = await take(await pseudonym('account', name), of, taken)
    // An answer that is not needed yet lets its sender in where the count does not.
    const isAsked = who.captcha !== undefined && (captcha.isWanted(failures) || (!isAllowed && who.captcha.answer !== undefined))
    const isSolved = isAsked && await captcha.check(who.captcha?.answer, { ip: who.ip, failures }) === 'solved'
    if (isAllowed) return
    if (!await isEntitled(who, isSolved)) throw limited(waitMs)
    const own = await take(await pseudonym('address', `${name}\0${networkOf(who.ip)}`), of, taken)
    if (!own.isAllowed) throw limited(own.waitMs)
  }

  // The count that was over the limit keeps its failures at a success: they are not the owner's.
  return {
    async run (who, evaluate) {
      const taken: Taken[] = []
      try {
        await enter(who, taken)
        const result = await evaluate()
        await Promise.all(taken.map(({ key, id, of }) => result === null ? attempts.fail(key, id) : attempts.succeed(key, id, of)))
        return result
      } catch (error) {
        await Promise.all(taken.map(({ key, id }) => attempts.giveBack(key, id)))
        throw error
      }
    }
  }
}

function limited (waitMs: number): Error {
  return Object.assign(new RATE_LIMITED(), { retryAfterSeconds: waitMs / 1000 })
}
