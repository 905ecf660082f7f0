import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { membersId, membersTable } from '../tables.js'
import type { TableMap } from '../../options/table-map.js'
import { create } from './create.js'

/** The servers that may answer from their memory: a revocation waits for each of them. */
export async function createMembersTable (db: Kysely<any>, { tokens }: TableMap): Promise<void> {
  const statement = sql`create table ${membersId(tokens)} (
    id text primary key,
    lease_ms integer not null,
    is_expelled boolean not null default false,
    joined_at timestamptz not null default now()
  )`
  await create(db, { table: membersTable(tokens), statement })
}
