import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import { UNAVAILABLE } from '../errors.js'
import type { Tables } from './tables.js'

/** Runs the statement where the call has run its own: within its transaction, or alone. */
type Execute = (statement: RawBuilder<unknown>) => Promise<{ rows: unknown[] }>

/**
 * A policy may show a row and not let the role change it: an UPDATE passes over such a row without an error. A call must not report that it
 * ended a token then. Nothing is executed if no policy applies.
 * @throws `FST_TOKEN_AUTH_UNAVAILABLE`
 */
export async function refuseHidden (execute: Execute, { tokens, rowSecurity }: Tables, condition: RawBuilder<unknown>): Promise<void> {
  if (!rowSecurity.isActive) return
  const live = sql`select id from ${tokens} where ${condition} and revoked_at is null and expires_at > now()`
  const { rows } = await execute(sql`${live} and id not in (${live} for no key update) limit 1`)
  if (rows.length > 0) throw new UNAVAILABLE({ cause: new Error('a policy (row level security) lets this role read tokens that it may not update: none was ended') })
}
