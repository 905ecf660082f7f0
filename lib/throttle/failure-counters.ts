/** The limits for attempts at one key. */
export interface AttemptRules {
  /** Attempts under way or failed before the first wait. */
  free: number
  /** The first wait; each further failure doubles it. */
  delayMs: number
  maxDelayMs: number
  /** Failures are forgotten this long after the last attempt. */
  forgetMs: number
}

export interface Attempt {
  isAllowed: boolean
  /** Attempts counted before this one: failed, or under way. */
  failures: number
  /** If it is not allowed: when to try again. */
  waitMs: number
  /** Identifies this attempt for the call that ends it. */
  id: string
}

/**
 * Counts attempts and claims, shared between the servers where there is Redis. Keys are pseudonyms. Never rejects.
 * An attempt is under way until `giveBack`, `fail` or `succeed` ends it; an attempt that is never ended fails by itself.
 */
export interface FailureCounters {
  /**
   * Counts the attempt as under way unless a wait is not over; atomic, so that parallel attempts cannot overshoot. `owner` is
   * the account it belongs to, as several may share a key.
   */
  take (key: string, rules: AttemptRules, owner?: string): Promise<Attempt>
  /** Takes an attempt back, as if it had not happened, with the wait that it started, unless a later attempt has started another. */
  giveBack (key: string, id: string): Promise<void>
  /** The attempt stays counted, as a failure. */
  fail (key: string, id: string): Promise<void>
  /**
   * Takes a successful attempt back (`null`: it was counted elsewhere), and clears the failures if all attempts have the same
   * `owner`: a login to one account must not reset the limit of another. Attempts under way stay counted, because they may fail.
   */
  succeed (key: string, id: string | null, owner?: string): Promise<void>
  /** `true` for the first call with this key within `ttlMs`. */
  useOnce (key: string, ttlMs: number): Promise<boolean>
}
