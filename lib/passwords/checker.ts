import { availableParallelism } from 'node:os'
import { OVERLOADED, UNAVAILABLE } from '../errors.js'
import type { Logger } from '../ports.js'
import { withDeadline } from '../tools/deadline.js'
import { lazy } from '../tools/lazy.js'
import { createPace } from '../tools/pace.js'
import { atMostEvery } from '../tools/quiet-log.js'
import { redactSecrets } from '../tools/redact.js'
import { withRetryAfter } from '../tools/retry-after.js'
import { createSemaphore } from '../tools/semaphore.js'
import type { Now, RandomBytes } from '../../types/options.js'
import type { Hasher, PasswordVerifier } from '../../types/passwords.js'
import { createArgon2Finder } from './argon2.js'
import type { Argon2Library } from './argon2.js'
import { mayBeTruncated } from './bcrypt.js'
import { createBuiltInVerifiers } from './django.js'
import { createInFlight } from './in-flight.js'
import { createUnknownHashReport, createVerifiers } from './verifiers.js'
import { monotonicNow as processNow } from '../tools/monotonic.js'

/** `no_password` and `unknown_hash` (damaged, foreign, or above a bound) are refusals that cost as much as `wrong`. */
export type PasswordVerdict = 'right' | 'wrong' | 'no_password' | 'unknown_hash'

export interface PasswordChecker {
  /**
   * `stored` is `null` if there is no such user, or no password. Every verdict costs one computation; without a stored hash a dummy hash
   * as strong as new ones is verified (ASVS 5.0 6.3.8). A password that is wrong as typed and not in Unicode's form NFC is tried in that
   * form as well (RFC 8265 4.2.2): another keyboard may have typed another one. @throws `FST_TOKEN_AUTH_OVERLOADED`; `FST_TOKEN_AUTH_UNAVAILABLE` if a hasher
   * fails (11.2.5) or does not settle in time
   */
  verify (password: string, stored: string | null): Promise<PasswordVerdict>
  /** The hash of the password in form NFC. @throws the errors of `verify` */
  hash (password: string): Promise<string>
  /** The length of the hash of a long password, because some hashers encode those in a longer form. @throws the errors of `verify` */
  hashLength (): Promise<number>
  /**
   * Whether a hash that verified as right should be replaced by a new one of the same password. Never if bcrypt may have ignored
   * the end of the password: the user could not log in with the new hash.
   */
  needsUpgrade (password: string, stored: string): boolean
  /**
   * Announces a later call of `verify`; it counts as waiting until the returned function is called. @throws `FST_TOKEN_AUTH_OVERLOADED`
   */
  reserve (): () => void
  /** Makes the dummy hash in the background, so that the first login does not wait for it. */
  prepare (): void
  /** Whether no place is free. Work that can wait should. */
  readonly isBusy: boolean
  /** Waits for the work in flight, however long it takes, and ends the threads. */
  close (): Promise<void>
}

export interface PasswordCheckerSettings {
  hasher: Hasher
  verifiers: readonly PasswordVerifier[]
  /** `concurrency: null`: `defaultConcurrency` decides. */
  hashing: { concurrency: number | null, queue: number, maxWaitMs: number }
  /** For one computation, and for a hasher's close. The place in the queue is then free again, even if the computation never settles. Default: 30 s. */
  timeoutMs?: number
  randomBytes: RandomBytes
  logger: Logger
  monotonicNow?: Now
  findArgon2?: () => Argon2Library | null
}

/** Much longer than any bounded hash takes, so that slow ones on a busy machine do not run beside those that follow. */
const TIMEOUT_MS = 30_000
const FAILURE_REPORT_MS = 60_000
/** Longer than bcrypt reads. */
const LONG_PASSWORD = 'x'.repeat(128)

/** All hashing goes through here: it chooses the verifier, bounds how many hashes are computed at once, and makes every refusal cost the same. */
export function createPasswordChecker (settings: PasswordCheckerSettings): PasswordChecker {
  const { hasher, verifiers, hashing, timeoutMs = TIMEOUT_MS, randomBytes, logger, monotonicNow = processNow, findArgon2 = createArgon2Finder() } = settings
  const concurrency = hashing.concurrency ?? defaultConcurrency(process.env)
  const pace = createPace({ now: monotonicNow })
  const semaphore = createSemaphore({
    ...hashing,
    concurrency,
    expectWaitMs: (waiting) => (waiting + 1) * pace.meanMs / concurrency,
    overloaded: (waitMs) => withRetryAfter(new OVERLOADED(), waitMs / 1000)
  })
  const inFlight = createInFlight()
  const builtIn = createBuiltInVerifiers({ findArgon2 })
  const dummyHash = lazy(() => inTime(() => hasher.hash(randomBytes(16).toString('base64url'))))
  const choice = createVerifiers({ hasher, verifiers, builtIn, ownHash: () => dummyHash.value })
  const reportUnknown = createUnknownHashReport({ logger, monotonicNow, findArgon2 })
  const reportFailure = atMostEvery(FAILURE_REPORT_MS, (error: Error) => {
    logger.error({ err: error }, 'passwords cannot be checked: a hasher fails')
  }, monotonicNow)
  let isClosed = false

  // Every computation waits for a place, is measured, and fails as 503 if it throws or takes too long.
  async function run<Result> (task: () => Promise<Result>, ...secrets: string[]): Promise<Result> {
    if (isClosed) throw new UNAVAILABLE()
    const limited = () => inTime(task).catch((error) => { throw unavailable(error, secrets) })
    const measured = () => pace.run(limited)
    return await inFlight.track(semaphore.run(measured))
  }

  // A computation cannot be stopped: one that exceeds the limit goes on beside those that follow.
  function inTime<Result> (task: () => Result | Promise<Result>): Promise<Result> {
    const work = async () => await task()
    return withDeadline(work(), { timeoutMs, expired: () => new Error(`a hasher did not settle within ${timeoutMs} ms`) })
  }

  // An error is not a refusal, and never a success. A hasher's message may quote the password or the hash.
  function unavailable (error: unknown, secrets: string[]): Error {
    const cause = redactSecrets(error, ...secrets)
    reportFailure(cause)
    return new UNAVAILABLE({ cause })
  }

  async function judge (password: string, stored: string | null): Promise<PasswordVerdict> {
    // Known users wait for it as well. Otherwise a guesser could distinguish them from unknown ones while it is not ready.
    const dummy = await dummyHash.get()
    const isUnusable = stored === null || stored.startsWith('!')
    const verifier = isUnusable ? null : choice.find(stored)
    if (verifier !== null && stored !== null) return await verifier.verify(password, stored) === true ? 'right' : 'wrong'
    await hasher.verify(password, dummy)
    if (isUnusable) return 'no_password'
    reportUnknown(stored)
    return 'unknown_hash'
  }

  async function verify (password: string, stored: string | null): Promise<PasswordVerdict> {
    const verdict = await run(() => judge(password, stored), password, stored ?? '')
    const normalized = password.normalize('NFC')
    return verdict === 'right' || normalized === password ? verdict : await verify(normalized, stored)
  }

  return {
    verify,
    hash: async (password) => await run(() => hasher.hash(password.normalize('NFC')), password),
    hashLength: async () => (await run(() => hasher.hash(LONG_PASSWORD))).length,
    needsUpgrade: (password, stored) => !mayBeTruncated(password, stored) && (!choice.isOwn(stored) || hasher.needsRehash(stored)),
    reserve: semaphore.reserve,
    // It takes no place: the first user that a host creates would wait for it. After a failure the next `verify` tries again.
    prepare () { inFlight.track(pace.run(dummyHash.get)).catch(() => {}) },
    get isBusy () { return semaphore.active >= concurrency || semaphore.waiting > 0 },
    async close () {
      isClosed = true
      await inFlight.settled()
      const parts = [hasher, ...verifiers, ...builtIn]
      const warn = (error: unknown) => logger.warn({ err: redactSecrets(error) }, 'a password hasher could not be closed')
      await Promise.all(parts.map((part) => inTime(() => part.close?.()).catch(warn)))
    }
  }
}

/**
 * How many hashes are computed at once by default. One core stays free for requests that need no hash, and one of libuv's threads,
 * which compute Argon2, PBKDF2 and scrypt, for DNS and files.
 */
export function defaultConcurrency ({ UV_THREADPOOL_SIZE }: NodeJS.ProcessEnv): number {
  const threads = Number(UV_THREADPOOL_SIZE ?? 4) || 4
  return Math.max(1, Math.min(availableParallelism(), threads) - 1)
}
