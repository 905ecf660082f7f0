import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Logger } from '../ports.js'
import { quoteTable } from './quote.js'
import { membersTable } from './tables.js'
import type { Tables } from './tables.js'

/**
 * Warns of policies (row level security) that apply to this role: rows that they hide are unknown users, and tokens that cannot be revoked.
 * A failure to find out stops no start.
 */
export async function checkPolicies (db: Kysely<any>, { map, rowSecurity }: Tables, logger: Logger): Promise<void> {
  for (const table of [map.users, map.tokens, membersTable(map.tokens)].map(quoteTable)) {
    const { rows: [row] } = await sql<{ isActive: string }>`select pg_catalog.row_security_active(pg_catalog.to_regclass(${table}))::text as "isActive"`.execute(db)
    if (row!.isActive !== 'true') continue
    rowSecurity.isActive = true
    logger.warn({}, `row level security applies to this role on ${table}: what a policy hides cannot log in, be revoked, or be notified of a revocation; use a role with BYPASSRLS, or a policy that shows it every row; see docs/storage.md#row-level-security`)
  }
}
