import { availableParallelism } from 'node:os'
import { withDeadline } from '../tools/deadline.js'
import { lazy } from '../tools/lazy.js'
import { createPace } from '../tools/pace.js'
import { withRetryAfter } from '../tools/retry-after.js'
import { createSemaphore } from '../tools/semaphore.js'
import { OVERLOADED, UNAVAILABLE } from '../errors.js'
import type { Logger } from '../ports.js'
import type { Now, RandomBytes } from '../../types/options.js'
import type { Hasher, PasswordVerifier } from '../../types/passwords.js'
import { createArgon2Finder } from './argon2-library.js'
import type { Argon2Library } from './argon2-library.js'
import { mayCutOff } from './bcrypt-encoding.js'
import { createBuiltInVerifiers } from './built-in-verifiers.js'
import { createHasherFailureReport } from './hasher-failure.js'
import { redactSecrets } from '../tools/redact.js'
import { createInFlight } from './under-way.js'
import { createUnknownHashReport } from './unknown-hash.js'
import { createVerifierChoice } from './verifier-choice.js'

/** `no_password` and `unknown_hash` (damaged, foreign, or asking for too much) are refusals that cost as much as `wrong`. */
export type PasswordVerdict = 'right' | 'wrong' | 'no_password' | 'unknown_hash'

export interface PasswordChecker {
  /**
   * `null`: there is no such user, or no password. Every verdict costs one operation; the hash of nobody is as strong as
   * new ones (ASVS 5.0 6.3.8). @throws `FST_TOKEN_AUTH_OVERLOADED`; `FST_TOKEN_AUTH_UNAVAILABLE` if a hasher fails (11.2.5)
   * or does not settle in time
   */
  verify (password: string, stored: string | null): Promise<PasswordVerdict>
  /** @throws as `verify` does */
  hash (password: string): Promise<string>
  /**
   * Whether a hash that verified as right is to be replaced by one of the same password. Never where bcrypt may have left
   * the end of the password unread: the new hash would shut out its owner.
   */
  needsUpgrade (password: string, stored: string): boolean
  /**
   * Announces a later call of `verify`; it counts as waiting until the returned function is called. @throws `FST_TOKEN_AUTH_OVERLOADED`
   * before the work has begun
   */
  reserve (): () => void
  /** Whether no place is free: what can wait, should. */
  readonly isBusy: boolean
  /** Waits for the work under way, as long as that may take, and ends the threads. */
  close (): Promise<void>
}

export interface PasswordCheckerSettings {
  hasher: Hasher
  verifiers: readonly PasswordVerifier[]
  /** `concurrency: null`: by `defaultConcurrency`. */
  hashing: { concurrency: number | null, queue: number, maxWaitMs: number }
  /** Patience with one computation, and with a hasher's close; 30 s by default. Its place is free then: one that never settles keeps none for ever. */
  timeoutMs?: number
  randomBytes: RandomBytes
  logger: Logger
  monotonicNow?: Now
  findArgon2?: () => Argon2Library | null
}

/** Far above every bounded hash, so that slow ones on a busy machine are not computed beside those that follow. */
const TIMEOUT_MS = 30_000

/** The one way to passwords' hashes: chooses who verifies, bounds how many are computed at once, and evens out what a refusal costs. */
export function createPasswordChecker (settings: PasswordCheckerSettings): PasswordChecker {
  const { hasher, verifiers, hashing, timeoutMs = TIMEOUT_MS, randomBytes, logger, monotonicNow = () => performance.now(), findArgon2 = createArgon2Finder() } = settings
  const concurrency = hashing.concurrency ?? defaultConcurrency(process.env)
  const pace = createPace({ now: monotonicNow })
  const gate = createSemaphore({
    ...hashing,
    concurrency,
    expectWaitMs: (waiting) => (waiting + 1) * pace.meanMs / concurrency,
    overloaded: (waitMs) => withRetryAfter(new OVERLOADED(), waitMs / 1000)
  })
  const builtIn = createBuiltInVerifiers({ findArgon2 })
  // A hash that no password matches, as strong as the hasher makes them now: what unknown users are verified against.
  const dummy = lazy(() => inTime(() => hasher.hash(randomBytes(16).toString('base64url'))))
  const choice = createVerifierChoice({ hasher, verifiers, builtIn, ownHash: () => dummy.value })
  const reportUnknown = createUnknownHashReport({ logger, monotonicNow, findArgon2 })
  const reportFailure = createHasherFailureReport({ logger, monotonicNow })
  const underWay = createInFlight()
  let isClosed = false

  // A computation cannot be stopped: one that settles late is one more for a while.
  function inTime<Result> (task: () => Result | Promise<Result>): Promise<Result> {
    const work = async () => await task()
    return withDeadline(work(), { timeoutMs, expired: () => new Error(`a hasher did not settle within ${timeoutMs} ms`) })
  }

  async function run<Result> (task: () => Promise<Result>, ...secrets: string[]): Promise<Result> {
    if (isClosed) throw new UNAVAILABLE()
    return await underWay.track(gate.run(() => pace.run(() => orUnavailable(() => inTime(task), secrets))))
  }

  // An answer that could not be computed is no refusal, and never a success. What a hasher says may quote what it was given.
  async function orUnavailable<Result> (task: () => Promise<Result>, secrets: string[]): Promise<Result> {
    try {
      return await task()
    } catch (error) {
      const cause = redactSecrets(error, ...secrets)
      reportFailure(cause)
      throw new UNAVAILABLE({ cause })
    }
  }

  async function judge (password: string, stored: string | null): Promise<PasswordVerdict> {
    // Awaited for everybody: if it cannot be made, known users must not be told from unknown ones.
    const dummyHash = await dummy.get()
    const isUnusable = stored === null || stored.startsWith('!')
    const verifier = isUnusable ? null : choice.find(stored)
    if (verifier !== null && stored !== null) return await verifier.verify(password, stored) === true ? 'right' : 'wrong'
    await hasher.verify(password, dummyHash)
    if (isUnusable) return 'no_password'
    reportUnknown(stored)
    return 'unknown_hash'
  }

  // Takes no place, as the first user that a host makes would wait behind it where there is one only. Its failure is told to who
  // comes next: it is tried again then.
  underWay.track(pace.run(dummy.get)).catch(() => {})

  return {
    verify: async (password, stored) => await run(() => judge(password, stored), password, stored ?? ''),
    hash: async (password) => await run(() => hasher.hash(password), password),
    needsUpgrade: (password, stored) => !mayCutOff(password, stored) && (!choice.isOwn(stored) || hasher.needsRehash(stored)),
    reserve: gate.reserve,
    get isBusy () { return gate.active >= concurrency || gate.waiting > 0 },
    async close () {
      isClosed = true
      await underWay.settled()
      const parts = [hasher, ...verifiers, ...builtIn]
      const warn = (error: unknown) => logger.warn({ err: redactSecrets(error) }, 'a password hasher could not be closed')
      await Promise.all(parts.map((part) => inTime(() => part.close?.()).catch(warn)))
    }
  }
}

/**
 * What is hashed at once where nothing is set. One core stays free for the requests that need no hash, and one thread of libuv,
 * where Argon2, PBKDF2 and scrypt are computed, for DNS and files.
 */
export function defaultConcurrency ({ UV_THREADPOOL_SIZE }: NodeJS.ProcessEnv): number {
  const threads = Number(UV_THREADPOOL_SIZE ?? 4) || 4
  return Math.max(1, Math.min(availableParallelism(), threads) - 1)
}
