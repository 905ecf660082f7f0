import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { UNAVAILABLE } from '../errors.js'
import type { Tables } from './tables.js'

/**
 * A policy may show a row and not let the role change it: an UPDATE passes over such a row without an error. A call must not report that it
 * ended a token then.
 * @throws `FST_TOKEN_AUTH_UNAVAILABLE`
 */
export async function refuseHidden (db: Kysely<any>, { tokens, rowSecurity }: Tables, condition: RawBuilder<unknown>): Promise<void> {
  if (!rowSecurity.isActive) return
  const live = sql`select id from ${tokens} where ${condition} and revoked_at is null and expires_at > now()`
  const { rows } = await sql`${live} and id not in (${live} for no key update) limit 1`.execute(db)
  if (rows.length > 0) throw new UNAVAILABLE({ cause: new Error('a policy (row level security) lets this role read tokens that it may not update: none was ended') })
}
