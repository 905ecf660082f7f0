import type { Kysely } from 'kysely'
import { assertPrimary } from './startup-checks.js'
import { codeOf } from './errors.js'

/** Whether the database is the one that commits, and no standby that applies commits later. */
export interface Primary {
  /** `false` until the database has said so, and since it has said otherwise. */
  isKnown (): boolean
  /** Asks it. @throws `FST_TOKEN_AUTH_STANDBY_DATABASE`, `FST_TOKEN_AUTH_DATABASE_UNREACHABLE` */
  assert (): Promise<void>
}

export function createPrimary (db: Kysely<any>): Primary {
  let isKnown = false
  return {
    isKnown: () => isKnown,
    async assert () {
      try {
        await assertPrimary(db)
        isKnown = true
      } catch (error) {
        if (codeOf(error) === 'FST_TOKEN_AUTH_STANDBY_DATABASE') isKnown = false
        throw error
      }
    }
  }
}
