import { sql } from 'kysely'
import { withDeadline } from '../tools/deadline.js'
import type { DeadlineSettings } from '../tools/deadline.js'
import { MISSING_TABLES } from '../errors.js'
import type { Sql } from './gateway.js'
import type { Tables } from './tables.js'

/** The key that the migrations put into SQL: all servers share it, nobody configures it, and Redis does not know it. */
export interface ServerKey {
  /** The key; `null` until it has been read. */
  current (): Uint8Array | null
  /** Reads it once, for all who ask; a failure is not kept. @throws `FST_TOKEN_AUTH_MISSING_TABLES`, what the database does */
  load (): Promise<Uint8Array>
}

export interface ServerKeySettings {
  sql: Sql
  tables: Tables
  deadline: DeadlineSettings
}

export function createServerKey ({ sql: { read }, tables, deadline }: ServerKeySettings): ServerKey {
  let key: Uint8Array | null = null
  let reading: Promise<Uint8Array> | null = null

  async function readKey (): Promise<Uint8Array> {
    const { rows: [row] } = await read((db) => sql<{ value: Uint8Array }>`select value from ${tables.serverKey}`.execute(db))
    if (row === undefined) throw new MISSING_TABLES('The server key table has no row: take the migration 0003_token_auth_server_key back and apply it again')
    return row.value
  }

  async function readInTime (): Promise<Uint8Array> {
    try {
      key = await withDeadline(readKey(), deadline)
      return key
    } catch (error) {
      reading = null
      throw error
    }
  }

  return {
    current: () => key,
    load () {
      reading ??= readInTime()
      return reading
    }
  }
}
