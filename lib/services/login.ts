import type { Pseudonym } from '../crypto/pseudonym.js'
import { CAPTCHA_REFUSED, CAPTCHA_REQUIRED, CAPTCHA_UNAVAILABLE, INVALID_CREDENTIALS, RATE_LIMITED } from '../errors.js'
import type { PasswordChecker } from '../passwords/checker.js'
import type { Credentials, SessionStore, UserStore } from '../ports.js'
import type { LoginFailure } from '../../types/events.js'
import type { TokenGrant } from '../../types/token-auth.js'
import { toCountedName } from './account-limit.js'
import type { AccountLimit, CountedAttempt } from './account-limit.js'
import type { Emit } from './events.js'
import type { Rehasher } from './rehash.js'
import type { Propagate } from './revocation.js'
import { toGrant } from './tokens.js'
import type { Origin, TokenFactory } from './tokens.js'

export interface LoginInput {
  username: string
  password: string
  captchaToken?: string
  origin: Origin
}

export interface LoginService {
  /** @throws `FST_TOKEN_AUTH_INVALID_CREDENTIALS`, `FST_TOKEN_AUTH_RATE_LIMITED`, `FST_TOKEN_AUTH_CAPTCHA_*`, `FST_TOKEN_AUTH_OVERLOADED`, `FST_TOKEN_AUTH_UNAVAILABLE` */
  login (input: LoginInput): Promise<TokenGrant>
}

export interface LoginSettings {
  users: Pick<UserStore, 'findCredentials'>
  sessions: Pick<SessionStore, 'login'>
  checker: Pick<PasswordChecker, 'verify' | 'reserve'>
  accountLimit: AccountLimit
  rehasher: Pick<Rehasher, 'offer'>
  tokenFactory: TokenFactory
  propagate: Propagate
  emit: Emit
  pseudonym: Pseudonym
  canonicalize: (username: string) => string
}

type Verified = Credentials & { passwordHash: string }
interface Refusal { reason: LoginFailure, user: Credentials | null }

/** The password is verified again if its hash changes between the check and the session. */
const TRIES = 2

export function createLoginService (settings: LoginSettings): LoginService {
  const { users, sessions, checker, accountLimit, rehasher, tokenFactory, propagate, emit, pseudonym, canonicalize } = settings

  // A flood must cost Redis and PostgreSQL nothing: a login without a chance to be hashed in time ends here.
  async function logInQueued (input: LoginInput): Promise<TokenGrant | Refusal> {
    const release = checker.reserve()
    return await logIn(input).finally(release)
  }

  // The steps of docs/routes.md. The first two, the limit by address and the body, are the route's.
  async function logIn ({ username, password, captchaToken, origin }: LoginInput): Promise<TokenGrant | Refusal> {
    let attempt: CountedAttempt | null = null
    try {
      // 3. The limit by account, and 4. the captcha.
      attempt = await accountLimit.enter({ username, ip: origin.ip, captcha: { answer: captchaToken } })
      let replaced: Credentials | null = null
      for (let tries = 0; tries < TRIES; tries++) {
        // 5. The password, and 6. whether the user is active.
        const user = await verify(username, password)
        if ('reason' in user) return await refuse(user, attempt)
        // 7. The session, unless the verified hash has been replaced meanwhile.
        const granted = await startSession(user, password, origin)
        if (granted !== null) {
          await attempt.succeed()
          return granted
        }
        replaced = user
      }
      return await refuse({ reason: 'wrong_password', user: replaced }, attempt)
    } catch (error) {
      await attempt?.giveBack()
      throw error
    }
  }

  // Without a usable stored hash the checker computes a dummy one, and whether the user is active counts after it: failures look alike
  // (ASVS 5.0 6.3.8).
  async function verify (username: string, password: string): Promise<Verified | Refusal> {
    const user = await users.findCredentials(username)
    const verdict = await checker.verify(password, user?.passwordHash ?? null)
    if (user === null) return { reason: 'unknown_user', user }
    if (verdict !== 'right') return { reason: verdict === 'wrong' ? 'wrong_password' : verdict, user }
    return user.active ? user as Verified : { reason: 'inactive', user }
  }

  async function startSession ({ id, passwordHash }: Verified, password: string, origin: Origin): Promise<TokenGrant | null> {
    const token = tokenFactory.create(origin)
    const issued = await sessions.login(id, passwordHash, token.request)
    if (issued === null) return null
    rehasher.offer({ userId: id, password, stored: passwordHash })
    await propagate.displaced(issued, 'too_many', { requestId: origin.requestId })
    return toGrant(token, issued)
  }

  async function refuse (refusal: Refusal, attempt: CountedAttempt): Promise<Refusal> {
    await attempt.fail()
    return refusal
  }

  async function report ({ username, origin: { ip, requestId } }: LoginInput, { reason, user }: Refusal, detail: string | null = null): Promise<void> {
    const name = await pseudonym('name', toCountedName(username)).catch(() => null)
    emit('loginFailed', { reason, detail, userId: user?.id ?? null, name, ip, requestId })
  }

  return {
    async login (typed) {
      const input = { ...typed, username: canonicalize(typed.username) }
      const outcome = await logInQueued(input).catch(async (error) => {
        await report(input, { reason: reasonOf(error), user: null }, error.detail)
        throw error
      })
      if ('reason' in outcome) {
        await report(input, outcome)
        throw new INVALID_CREDENTIALS()
      }
      const { origin: { ip, requestId } } = input
      emit('login', { userId: outcome.user.id, sessionId: outcome.sessionId, ip, requestId })
      return outcome
    }
  }
}

/** The reason that the event has for an error. */
function reasonOf (error: unknown): LoginFailure {
  if (error instanceof RATE_LIMITED) return 'account_limited'
  if (error instanceof CAPTCHA_REQUIRED) return 'captcha_required'
  if (error instanceof CAPTCHA_REFUSED) return 'captcha_refused'
  return error instanceof CAPTCHA_UNAVAILABLE ? 'captcha_unavailable' : 'unavailable'
}
