import type { OpenCache } from '../cache/index.js'
import { createPseudonyms } from '../crypto/pseudonym.js'
import type { Pseudonym } from '../crypto/pseudonym.js'
import { createTokenFormat } from '../crypto/token.js'
import type { Settings } from '../options/read.js'
import { bcrypt } from '../passwords/bcrypt.js'
import { createPasswordChecker } from '../passwords/checker.js'
import { createPasswordPolicy } from '../passwords/policy.js'
import type { Logger, TokenStore } from '../ports.js'
import type { FailureCounters } from '../throttle/failure-counters.js'
import type { Database } from '../sql/index.js'
import { openapi } from '../schemas/openapi.js'
import { addressKey } from '../tools/client-address.js'
import { createAccountLimit, NO_ACCOUNT_LIMIT } from './account-limit.js'
import type { AccountLimit } from './account-limit.js'
import { createCaptchaCheck } from './captcha.js'
import type { Emit } from './events.js'
import { createLastUsed } from './last-used.js'
import { createLoginService } from './login.js'
import { createPasswordService } from './passwords.js'
import { createRehasher } from './rehash.js'
import { createPropagate } from './revocation.js'
import { createRevokeAll } from './revoke-all.js'
import { createSessionService } from './sessions.js'
import { createTokenAuth } from './token-auth.js'
import { createTokenFactory } from './tokens.js'
import { createUserService } from './users.js'

export interface ServiceParts {
  settings: Settings
  database: Pick<Database, 'users' | 'sessions' | 'revocations' | 'tokens' | 'key' | 'clock' | 'ping'>
  cache: OpenCache
  counters: FailureCounters
  emit: Emit
  logger: Logger
}

/** Creates the services over the stores. */
export function createServices ({ settings, database, cache, counters, emit, logger }: ServiceParts) {
  const { token, randomBytes, canonicalize, verifiers, hashing } = settings
  const { users, sessions: sessionStore, revocations, tokens } = database
  const { writeTombstones, dropEntries, holdsTombstone, lookupFresh } = cache
  const format = createTokenFormat({ prefix: token.prefix, randomBytes })
  const pseudonym = createPseudonyms(database.key)
  const checker = createPasswordChecker({ hasher: settings.hasher ?? bcrypt(), verifiers, hashing, randomBytes, logger })
  const policy = createPasswordPolicy({ ...settings.password, logger })
  const tokenFactory = createTokenFactory({ format, ttlMs: token.ttlMs })
  const propagate = createPropagate({ writeTombstones, revocations, revocation: settings.revocation, emit })
  const rehasher = createRehasher({ checker, rehash: users.rehash, logger })
  const lastUsed = createLastUsed({ touch: tokens.touch, intervalMs: token.touchIntervalMs, now: settings.now, databaseNow: database.clock.now, logger })
  const accountLimit = openAccountLimit({ settings, counters, pseudonym, tokens, logger })
  const sessions = createSessionService({ tokens, revocations, lookupFresh, holdsTombstone, propagate, emit })
  const passwords = createPasswordService({ users, sessions: sessionStore, revocations, checker, accountLimit, policy, tokenFactory, propagate, emit })
  const userService = createUserService({ users, tokens, sessions: sessionStore, revocations, dropEntries, checker, policy, tokenFactory, propagate, canonicalize, retentionMs: token.retentionMs })
  const revokeAll = createRevokeAll({ tokens, revokeUser: sessions.revokeUser, finishDeletions: userService.finishDeletions })
  const health = async () => ({ database: await database.ping().then(() => 'up' as const, () => 'down' as const), cache: await cache.health() })

  return {
    format,
    lastUsed,
    login: createLoginService({ users, sessions: sessionStore, checker, accountLimit, rehasher, tokenFactory, propagate, emit, pseudonym, canonicalize }),
    passwords,
    sessions,
    tokenAuth: createTokenAuth({ users: userService, passwords, sessions, revokeAll, format, health, openapi: () => openapi(settings.openapi.tags) }),
    hashLength: checker.hashLength,
    /** Makes the dummy hash before the first login needs it. */
    prepare: checker.prepare,
    async close () {
      await lastUsed.close()
      await rehasher.close()
      await checker.close()
    }
  }
}

/** A captcha after failures needs them counted, also without a limit. */
const UNLIMITED = { free: Number.MAX_SAFE_INTEGER, delayMs: 0, maxDelayMs: 0, forgetMs: 86_400_000 }

interface AccountLimitParts extends Pick<ServiceParts, 'settings' | 'counters' | 'logger'> { pseudonym: Pseudonym, tokens: TokenStore }

function openAccountLimit ({ settings: { accountLimit, captcha }, counters, pseudonym, tokens, logger }: AccountLimitParts): AccountLimit {
  if (accountLimit === null && captcha === null) return NO_ACCOUNT_LIMIT
  return createAccountLimit({
    rules: accountLimit?.shared ?? UNLIMITED,
    counters,
    pseudonym,
    captcha: createCaptchaCheck({ captcha, useOnce: counters.useOnce, pseudonym, logger }),
    isKnownAddress: tokens.isKnownAddress,
    networkOf: addressKey
  })
}
