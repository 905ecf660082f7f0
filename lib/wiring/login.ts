import { addressKey } from '../tools/client-address.js'
import type { Settings } from '../options/read.js'
import { bcrypt } from '../passwords/bcrypt.js'
import { createPasswordChecker } from '../passwords/checker.js'
import type { PasswordChecker } from '../passwords/checker.js'
import { createPasswordPolicy } from '../passwords/policy.js'
import type { PasswordPolicy } from '../passwords/policy.js'
import { createAccountGuard, UNGUARDED } from '../services/account-limit.js'
import type { AccountGuard } from '../services/account-limit.js'
import { createCaptchaCheck } from '../services/captcha.js'
import { createRehasher } from '../services/rehash.js'
import type { Rehasher } from '../services/rehash.js'
import type { Logger } from '../ports.js'
import type { Stores } from './stores.js'

/** What stands between a username with a password and a session. */
export interface LoginParts {
  checker: PasswordChecker
  policy: PasswordPolicy
  guard: AccountGuard
  upgrades: Rehasher
  close (): Promise<void>
}

/** For a captcha after failures these are counted without a limit, too. */
const UNLIMITED = { free: Number.MAX_SAFE_INTEGER, delayMs: 0, maxDelayMs: 0, forgetMs: 86_400_000 }

export function openLoginParts (logger: Logger, settings: Settings, stores: Stores): LoginParts {
  const { verifiers, hashing, randomBytes } = settings
  const checker = createPasswordChecker({ hasher: settings.hasher ?? bcrypt(), verifiers, hashing, randomBytes, logger })
  const upgrades = createRehasher({ checker, rehash: stores.users.rehash, logger })
  return {
    checker,
    policy: createPasswordPolicy({ ...settings.password, logger }),
    guard: openGuard(logger, settings, stores),
    upgrades,
    async close () {
      await upgrades.close()
      await checker.close()
    }
  }
}

function openGuard (logger: Logger, { accountLimit, captcha }: Settings, { reader, attempts, pseudonym }: Stores): AccountGuard {
  if (accountLimit === null && captcha === null) return UNGUARDED
  return createAccountGuard({
    rules: accountLimit?.shared ?? UNLIMITED,
    attempts,
    pseudonym,
    captcha: createCaptchaCheck({ captcha, claim: attempts.claim, pseudonym, logger, monotonicNow: () => performance.now() }),
    isKnownAddress: reader.isKnownAddress,
    networkOf: addressKey
  })
}
