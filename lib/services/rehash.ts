import type { Logger, UserStore } from '../ports.js'
import type { UserId } from '../../types/user.js'
import type { PasswordChecker } from '../passwords/checker.js'

export interface Rehasher {
  /** Replaces an old or weak hash by one of the same password, later and only if there is time for it. */
  offer (upgrade: Upgrade): void
  /** Waits for the rehash under way. */
  close (): Promise<void>
}

export interface Upgrade {
  userId: UserId
  password: string
  /** The hash that the password was just verified against. */
  stored: string
}

export interface RehasherSettings {
  checker: Pick<PasswordChecker, 'hash' | 'needsUpgrade' | 'isBusy'>
  rehash: UserStore['rehash']
  logger: Logger
}

/**
 * Upgrades hashes after a login, off the response path (ASVS 5.0 11.2.2): one at a time, and none while logins wait for a slot
 * to hash. A dropped upgrade is tried again at the next login.
 */
export function createRehasher ({ checker, rehash, logger }: RehasherSettings): Rehasher {
  let running: Promise<void> | null = null

  async function upgrade ({ userId, password, stored }: Upgrade): Promise<void> {
    try {
      await rehash(userId, stored, await checker.hash(password))
    } catch (error) {
      logger.warn({ err: error, userId }, 'a password hash could not be upgraded, keeping the old one')
    }
  }

  return {
    offer (offered) {
      if (running !== null || checker.isBusy || !checker.needsUpgrade(offered.password, offered.stored)) return
      running = upgrade(offered).finally(() => { running = null })
    },
    async close () {
      await running
    }
  }
}
