import { createHmac } from 'node:crypto'
import { sql } from 'kysely'
import { withDeadline } from '../concurrency/deadline.js'
import type { DeadlineSettings } from '../concurrency/deadline.js'
import { MISSING_TABLES } from '../errors.js'
import type { Pseudonym } from '../../types/ports.js'
import type { Sql } from './sql.js'
import type { Tables } from './tables.js'

export interface PseudonymSettings {
  sql: Sql
  tables: Tables
  /** For reading the key. */
  deadline: DeadlineSettings
}

/**
 * Pseudonyms under the key that the migrations put into SQL: all servers share it, nobody configures it, and whoever
 * reads Redis cannot try names. It is read once, at the first use. @throws what the database does
 */
export function createPseudonyms ({ sql: { run }, tables, deadline }: PseudonymSettings): Pseudonym {
  let key: Promise<Uint8Array> | null = null

  async function readKey (): Promise<Uint8Array> {
    const { rows: [row] } = await run((db) => sql<{ value: Uint8Array }>`select value from ${tables.secret}`.execute(db))
    if (row === undefined) throw new MISSING_TABLES('The secret table has no row')
    return row.value
  }

  // A failure is not kept: the next use tries again.
  function getKey (): Promise<Uint8Array> {
    key ??= withDeadline(readKey(), deadline).catch((error) => {
      key = null
      throw error
    })
    return key
  }

  return async (purpose, text) => createHmac('sha256', await getKey()).update(`${purpose}\0${text}`).digest('base64url')
}
