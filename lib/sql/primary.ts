import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { STANDBY_DATABASE } from '../errors.js'
import { asStartError } from './errors.js'
import { reach } from './reach.js'

/** Whether the database is the primary, which commits, or a standby, which may not have a revocation yet. */
export interface Primary {
  /** `false` until the database has said that it is the primary, and after it has said otherwise. */
  isKnown (): boolean
  /** Asks the database. @throws `FST_TOKEN_AUTH_STANDBY_DATABASE`, `FST_TOKEN_AUTH_DATABASE_UNREACHABLE` */
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
        if (error instanceof STANDBY_DATABASE) isKnown = false
        throw error
      }
    }
  }
}

/** @throws `FST_TOKEN_AUTH_STANDBY_DATABASE`, `FST_TOKEN_AUTH_DATABASE_UNREACHABLE` */
export async function assertPrimary (db: Kysely<any>): Promise<void> {
  const [row] = await reach(db, sql<{ isStandby: string }>`select pg_catalog.pg_is_in_recovery()::text as "isStandby"`).catch((error) => { throw asStartError(error) })
  if (row!.isStandby === 'true') throw new STANDBY_DATABASE()
}
