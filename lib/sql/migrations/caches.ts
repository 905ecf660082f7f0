import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { cachesId, cachesTable } from '../tables.js'
import type { TableMap } from '../../options/table-map.js'
import { create } from './create.js'

/** How long the servers' caches keep tokens: the longest decides how long revocations must be remembered. */
export async function createCachesTable (db: Kysely<any>, { tokens }: TableMap): Promise<void> {
  const statement = sql`create table ${cachesId(tokens)} (
    namespace text not null,
    ttl_ms bigint not null,
    seen_at timestamptz not null,
    primary key (namespace, ttl_ms)
  )`
  await create(db, { table: cachesTable(tokens), statement })
}
