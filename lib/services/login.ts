import { CAPTCHA_REFUSED, CAPTCHA_UNAVAILABLE, INVALID_CREDENTIALS } from '../errors.js'
import { withDeadline } from '../concurrency/deadline.js'
import type { AuthEvents } from '../../types/events.js'
import type { Captcha, CaptchaVerdict, Credentials, Hasher, RandomBytes, SessionWriter, UserStore } from '../../types/ports.js'
import type { TokenGrant } from '../../types/token-auth.js'
import type { Announce } from './announce.js'
import type { Emit } from './events.js'
import { toGrant } from './issue.js'
import type { Origin, TokenMinter } from './issue.js'

export interface LoginInput {
  username: string
  password: string
  captchaToken?: string
  origin: Origin
}

export interface LoginService {
  /** @throws `FST_TOKEN_AUTH_INVALID_CREDENTIALS`, `FST_TOKEN_AUTH_CAPTCHA_*`, and what the stores throw */
  login (input: LoginInput): Promise<TokenGrant>
}

export interface LoginSettings {
  users: UserStore
  sessions: SessionWriter
  hasher: Hasher
  captcha: Captcha | null
  minter: TokenMinter
  announce: Announce
  emit: Emit
  randomBytes: RandomBytes
}

const CAPTCHA_TIMEOUT_MS = 3000

// The signal asks a provider to stop; one that does not listen is not waited for either.
async function askCaptcha (captcha: Captcha, answer: string, ip: string | null): Promise<CaptchaVerdict> {
  const verdict = (async () => await captcha.verify(answer, { ip, signal: AbortSignal.timeout(CAPTCHA_TIMEOUT_MS) }))()
  return await withDeadline(verdict, { timeoutMs: CAPTCHA_TIMEOUT_MS, expired: () => new Error('the captcha provider did not answer in time') })
}

type FailureReason = AuthEvents['loginFailed']['reason']

export function createLoginService (settings: LoginSettings): LoginService {
  const { users, sessions, hasher, captcha, minter, announce, emit } = settings
  const dummyHash = hasher.hash(settings.randomBytes(16).toString('base64url'))
  // It is awaited at the first login, which reports the failure.
  dummyHash.catch(() => {})

  async function checkCaptcha (answer: string, origin: Origin): Promise<void> {
    if (captcha === null) return
    const verdict = await askCaptcha(captcha, answer, origin.ip)
      .catch((error) => { throw new CAPTCHA_UNAVAILABLE({ cause: error }) })
    if (verdict.ok) return
    report('captcha', null, origin)
    throw new CAPTCHA_REFUSED()
  }

  // Unknown names and users without a password cost a hash too, and whether a user is active is looked at after it:
  // nothing tells one failure from another (ASVS 5.0 6.3.8).
  async function authenticate (username: string, password: string, origin: Origin): Promise<Credentials & { passwordHash: string }> {
    const user = await users.findByUsername(username)
    const isRight = await hasher.verify(password, user?.passwordHash ?? await dummyHash)
    if (user === null) return fail('unknown_user', null, origin)
    if (user.passwordHash === null || !isRight) return fail('wrong_password', user, origin)
    if (!user.active) return fail('inactive', user, origin)
    return { ...user, passwordHash: user.passwordHash }
  }

  function fail (reason: FailureReason, user: Credentials | null, origin: Origin): never {
    report(reason, user, origin)
    throw new INVALID_CREDENTIALS()
  }

  function report (reason: FailureReason, user: Credentials | null, { ip, requestId }: Origin): void {
    emit('loginFailed', { reason, userId: user?.id ?? null, ip, requestId })
  }

  return {
    async login ({ username, password, captchaToken = '', origin }) {
      await checkCaptcha(captchaToken, origin)
      const user = await authenticate(username, password, origin)
      const { token, request } = minter.mint(origin)
      const issued = await sessions.login(user.id, user.passwordHash, request)
      if (issued === null) return fail('wrong_password', user, origin)
      await announce.displaced(issued, 'too_many')
      emit('login', { userId: user.id, sessionId: issued.sessionId, ip: origin.ip, requestId: origin.requestId })
      return toGrant(token, issued)
    }
  }
}
