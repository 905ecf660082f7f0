/** Password hashing. `verify` never throws for a damaged hash: it resolves to false. */
export interface Hasher {
  hash (password: string): Promise<string>
  verify (password: string, hash: string): Promise<boolean>
  /** Whether the hash is of another kind or weaker than `hash` would make now. */
  needsRehash (hash: string): boolean
  /**
   * Whether `verify` would compute this hash: its encoding is known and what it asks for is within bounds. What nobody
   * understands is refused at the cost of a hash. Without it, every hash that no verifier understands is given to `verify`.
   */
  understands? (hash: string): boolean
  close? (): Promise<void>
}

/** Verifies hashes that other software has stored, and makes none: they are replaced at the next right login. */
export interface PasswordVerifier {
  /** Whether it would compute this hash: its encoding is known and what it asks for is within bounds. */
  understands (hash: string): boolean
  verify (password: string, hash: string): Promise<boolean>
  close? (): Promise<void>
}

/** Knows passwords that are in the hands of guessers. A rejection means that it cannot tell now. */
export interface BreachedPasswords {
  isBreached (password: string, signal: AbortSignal): Promise<boolean>
}

/** A rule of the host for new passwords: what is wrong with one, told to the client, or nothing. */
export type PasswordRule = (password: string, user: { username: string }) => string | null | undefined | Promise<string | null | undefined>

export type CaptchaVerdict = { ok: true } | { ok: false, reason: string }

export interface CaptchaContext { ip: string | null, signal: AbortSignal }

/** Checks a captcha answer. A rejection means the provider can't be asked. */
export interface Captcha {
  verify (answer: string, context: CaptchaContext): Promise<CaptchaVerdict | boolean>
  /** `'always'`, the default, or only for accounts with failed logins. */
  readonly when?: 'always' | 'after-failures'
  /** With `'after-failures'`: how many; 3 by default. */
  readonly afterFailures?: number
  /** `'refuse'`, the default: 503. `'allow'`: accounts without so many failures log in without it. */
  readonly onUnavailable?: 'refuse' | 'allow'
}

/** `verify` alone will do. */
export type CaptchaOption = Captcha | Captcha['verify']

/** How attempts at one key are slowed down. */
export interface AttemptRules {
  /** So many attempts may be under way or have failed before the first wait. */
  free: number
  /** The first wait; each further failure doubles it. */
  delayMs: number
  maxDelayMs: number
  /** Failures are forgotten so long after the last attempt. */
  forgetMs: number
}

export interface Attempt {
  isAllowed: boolean
  /** Attempts counted before this one: failed, or under way. */
  failures: number
  /** Where it is not allowed: when to come back. */
  waitMs: number
  /** Names this attempt to what ends it. */
  id: string
}

/**
 * Counts attempts and claims, shared between the servers where there is Redis. Keys are pseudonyms. Never rejects.
 * An attempt is under way until one of `giveBack`, `fail` and `succeed` ends it; one that none of them ends fails by itself.
 */
export interface AttemptStore {
  /**
   * Counts the attempt as under way unless a wait is not over; atomic, so that parallel attempts cannot overshoot. `of` is
   * whose it is, where several may share a key.
   */
  take (key: string, rules: AttemptRules, of?: string): Promise<Attempt>
  /** Takes an attempt back, as if there had been none, and the wait that it began, if no later attempt has begun another. */
  giveBack (key: string, id: string): Promise<void>
  /** The attempt stays counted, as a failure. */
  fail (key: string, id: string): Promise<void>
  /**
   * Takes a right attempt back (`null`: it was counted elsewhere), and forgets the failures, if all attempts were of the
   * same one: who logs in to his own account may not refill another's. Attempts under way stay counted, as they may yet fail.
   */
  succeed (key: string, id: string | null, of?: string): Promise<void>
  /** `true` for the first call with this key within `ttlMs`. */
  claim (key: string, ttlMs: number): Promise<boolean>
}

/**
 * What stands for a text that may not be kept (a typed username may be a password): HMAC-SHA-256 under a key
 * that all servers share and Redis does not know, base64url. One text has another pseudonym for each purpose.
 */
export type Pseudonym = (purpose: 'account' | 'address' | 'captcha' | 'name' | 'spelling', text: string) => Promise<string>
