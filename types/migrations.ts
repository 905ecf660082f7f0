import type { Kysely } from 'kysely'

/** A migration for Kysely's `Migrator`, of version 0.28 or 0.29. */
export interface Migration {
  up (db: Kysely<any>): Promise<void>
  down (db: Kysely<any>): Promise<void>
}
