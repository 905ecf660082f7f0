import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { createTables } from '../sql/tables.js'
import type { TokenAuth } from '../../types/token-auth.js'
import { toTableMap } from './table-flags.js'

export interface DemoUser {
  username: string
  password: string
}

/** Adds a user for trying things out where there is none; `null` where there is. The password is known to the caller alone. */
export async function createDemoUser (db: Kysely<any>, tokenAuth: TokenAuth): Promise<DemoUser | null> {
  const { rows } = await sql`select 1 from ${createTables(toTableMap({})).users} limit 1`.execute(db)
  if (rows.length > 0) return null
  const demo = { username: 'demo', password: randomBytes(15).toString('base64url') }
  try {
    await tokenAuth.createUser(demo)
    return demo
  } catch (error) {
    const { code, retryAfterSeconds } = error as { code?: string, retryAfterSeconds?: number }
    // Another process was faster, and has printed its password.
    if (code === 'FST_TOKEN_AUTH_USERNAME_TAKEN') return null
    if (code !== 'FST_TOKEN_AUTH_OVERLOADED') throw error
    // A slow machine is busy with its first hash: no reason to end a server that listens.
    await pause(Number(retryAfterSeconds) * 1000, undefined, { ref: false })
    return await createDemoUser(db, tokenAuth)
  }
}
