import type { Pseudonym } from '../crypto/pseudonym.js'
import { RATE_LIMITED } from '../errors.js'
import type { TokenStore } from '../ports.js'
import type { AttemptRules, FailureCounters } from '../throttle/failure-counters.js'
import { withRetryAfter } from '../tools/retry-after.js'
import type { CaptchaCheck } from './captcha.js'

export interface AccountAttempt {
  /** In the form that is looked up. */
  username: string
  ip: string | null
  /** The captcha's answer; absent on routes that take none. */
  captcha?: { answer: string | undefined }
}

export interface AccountLimit {
  /**
   * Counts an attempt before its password is verified. One of its functions must follow.
   * @throws `FST_TOKEN_AUTH_RATE_LIMITED`, `FST_TOKEN_AUTH_CAPTCHA_*`
   */
  enter (attempt: AccountAttempt): Promise<CountedAttempt>
}

/** A counted attempt. */
export interface CountedAttempt {
  /** The password was right: forgets the account's failures. */
  succeed (): Promise<void>
  /** The attempt stays counted. */
  fail (): Promise<void>
  /** Takes the attempt back, as if there had been none: the password could not be verified. */
  giveBack (): Promise<void>
}

export interface AccountLimitSettings {
  rules: AttemptRules
  counters: FailureCounters
  pseudonym: Pseudonym
  captcha: CaptchaCheck
  isKnownAddress: TokenStore['isKnownAddress']
  /** The network of an address. */
  networkOf: (ip: string | null) => string
}

interface Counted { key: string, id: string, owner: string }

const IGNORED = /[\p{M}\p{Default_Ignorable_Code_Point}\s]/gu

/**
 * One text for usernames that a database may take for the same: without case, accents, width, spaces and invisible
 * characters. An account with two counts would be guessed at twice the speed. If two accounts share a text, the success of
 * one forgets no failures of the other.
 */
export function toCountedName (username: string): string {
  return username.normalize('NFKD').replace(IGNORED, '').toUpperCase().toLowerCase().normalize('NFKD').replace(IGNORED, '')
}

const done = async () => {}

/** Without a limit and a captcha nothing is counted. */
export const NO_ACCOUNT_LIMIT: AccountLimit = { enter: async () => ({ succeed: done, fail: done, giveBack: done }) }

/**
 * Slows down guessing at one account, known or not, from any address (ASVS 5.0 6.3.1; NIST SP 800-63B 3.2.2): an attempt is
 * counted before its password is verified, so that parallel ones cannot overshoot. An account over the limit is not locked: a client that
 * solves the captcha, or whose address has logged in to the account lately, has a count of its own.
 */
export function createAccountLimit (settings: AccountLimitSettings): AccountLimit {
  const { rules, counters, pseudonym, captcha, isKnownAddress, networkOf } = settings

  async function take (key: string, owner: string, counted: Counted[]) {
    const attempt = await counters.take(key, rules, owner)
    if (attempt.isAllowed) counted.push({ key, id: attempt.id, owner })
    return attempt
  }

  async function isEntitled ({ username, ip }: AccountAttempt, isSolved: boolean): Promise<boolean> {
    return isSolved || (ip !== null && await isKnownAddress(username, ip))
  }

  async function count (given: AccountAttempt, counted: Counted[]): Promise<void> {
    const name = toCountedName(given.username)
    const owner = await pseudonym('spelling', given.username)
    const { isAllowed, failures, waitMs } = await take(await pseudonym('account', name), owner, counted)
    // A captcha that is solved before it is required also admits a client whose account is over its limit.
    const isChecked = given.captcha !== undefined && (captcha.isWanted(failures) || (!isAllowed && given.captcha.answer !== undefined))
    const isSolved = isChecked && await captcha.check(given.captcha?.answer, { ip: given.ip, failures }) === 'solved'
    if (isAllowed) return
    if (!await isEntitled(given, isSolved)) throw limited(waitMs)
    const own = await take(await pseudonym('address', `${name}\0${networkOf(given.ip)}`), owner, counted)
    if (!own.isAllowed) throw limited(own.waitMs)
  }

  // An account counter over its limit keeps its failures at a success: they were somebody else's.
  function toCountedAttempt (counted: Counted[]): CountedAttempt {
    const each = async (settle: (one: Counted) => Promise<void>) => { await Promise.all(counted.map(settle)) }
    return {
      succeed: () => each(({ key, id, owner }) => counters.succeed(key, id, owner)),
      fail: () => each(({ key, id }) => counters.fail(key, id)),
      giveBack: () => each(({ key, id }) => counters.giveBack(key, id))
    }
  }

  return {
    async enter (attempt) {
      const counted: Counted[] = []
      const countedAttempt = toCountedAttempt(counted)
      try {
        await count(attempt, counted)
        return countedAttempt
      } catch (error) {
        await countedAttempt.giveBack()
        throw error
      }
    }
  }
}

function limited (waitMs: number): Error {
  return withRetryAfter(new RATE_LIMITED(), waitMs / 1000)
}
