import { INVALID_CREDENTIALS } from '../errors.js'
import type { LoginFailure } from '../../types/events.js'
import type { Credentials, IssuedToken, Pseudonym, SessionStore, UserStore } from '../ports.js'
import type { TokenGrant } from '../../types/token-auth.js'
import type { PasswordChecker } from '../passwords/checker.js'
import { toCountedName } from './account-limit.js'
import type { AccountGuard } from './account-limit.js'
import type { Propagate } from './revocation.js'
import type { Emit } from './events.js'
import { toGrant } from './tokens.js'
import type { Origin, TokenFactory } from './tokens.js'
import type { Rehasher } from './rehash.js'

export interface LoginInput {
  username: string
  password: string
  captchaToken?: string
  origin: Origin
}

export interface LoginService {
  /** @throws `FST_TOKEN_AUTH_INVALID_CREDENTIALS`, `FST_TOKEN_AUTH_RATE_LIMITED`, `FST_TOKEN_AUTH_CAPTCHA_*`, and what the stores throw */
  login (input: LoginInput): Promise<TokenGrant>
}

export interface LoginSettings {
  users: UserStore
  sessions: SessionStore
  checker: PasswordChecker
  guard: AccountGuard
  upgrades: Rehasher
  minter: TokenFactory
  announce: Propagate
  emit: Emit
  pseudonym: Pseudonym
  canonicalize: (username: string) => string
}

type Verified = Credentials & { passwordHash: string }
type Refused = { reason: LoginFailure, user: Credentials | null }

/** What an error tells the events; what is not here is `unavailable`. */
const REASONS: Record<string, LoginFailure> = {
  FST_TOKEN_AUTH_RATE_LIMITED: 'account_limited',
  FST_TOKEN_AUTH_CAPTCHA_REQUIRED: 'captcha_required',
  FST_TOKEN_AUTH_CAPTCHA_REFUSED: 'captcha_refused',
  FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE: 'captcha_unavailable'
}

export function createLoginService (settings: LoginSettings): LoginService {
  const { users, sessions, checker, guard, upgrades, minter, announce, emit, pseudonym, canonicalize } = settings

  // Every failure costs one hash at the current cost, and whether a user is active is looked at after it:
  // nothing tells one failure from another (ASVS 5.0 6.3.8).
  async function verify (username: string, password: string): Promise<Verified | Refused> {
    const user = await users.findByUsername(username)
    const verdict = await checker.verify(password, user?.passwordHash ?? null)
    if (user === null) return { reason: 'unknown_user', user }
    if (verdict !== 'right') return { reason: verdict === 'wrong' ? 'wrong_password' : verdict, user }
    return user.active ? user as Verified : { reason: 'inactive', user }
  }

  async function begin ({ username, password }: Pick<LoginInput, 'username' | 'password'>, token: ReturnType<TokenFactory['mint']>, triesLeft = 1): Promise<IssuedToken | Refused> {
    const user = await verify(username, password)
    if ('reason' in user) return user
    const issued = await sessions.login(user.id, user.passwordHash, token.request)
    if (issued !== null) {
      upgrades.offer({ userId: user.id, password, stored: user.passwordHash })
      return issued
    }
    // The hash was upgraded, or the password changed, since it was read.
    return triesLeft > 0 ? await begin({ username, password }, token, triesLeft - 1) : { reason: 'wrong_password', user }
  }

  async function report ({ reason, user }: Refused, { username, origin: { ip, requestId } }: LoginInput, detail: string | null = null): Promise<void> {
    const name = await pseudonym('name', toCountedName(username)).catch(() => null)
    emit('loginFailed', { reason, detail, userId: user?.id ?? null, name, ip, requestId })
  }

  async function attempt (input: LoginInput): Promise<TokenGrant | null> {
    const minted = minter.mint(input.origin)
    const issued = await begin(input, minted)
    if ('reason' in issued) {
      await report(issued, input)
      return null
    }
    await announce.displaced(issued, 'too_many', { requestId: input.origin.requestId })
    return toGrant(minted.token, issued)
  }

  // Who would be refused a hash is refused before Redis and PostgreSQL are asked: a flood is to cost them nothing.
  async function enter (input: LoginInput): Promise<TokenGrant | null> {
    const who = { username: input.username, ip: input.origin.ip, captcha: { answer: input.captchaToken } }
    return await checker.expect(() => guard.run(who, () => attempt(input)))
  }

  return {
    async login (typed) {
      const input = { ...typed, username: canonicalize(typed.username) }
      const { origin: { ip, requestId } } = input
      const granted = await enter(input)
        .catch(async (error) => {
          await report({ reason: REASONS[error.code] ?? 'unavailable', user: null }, input, error.detail)
          throw error
        })
      if (granted === null) throw new INVALID_CREDENTIALS()
      emit('login', { userId: granted.user.id, sessionId: granted.sessionId, ip, requestId })
      return granted
    }
  }
}
