import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Logger } from '../ports.js'
import { quoteName, quoteTable } from './quote.js'
import type { Tables } from './tables.js'

/**
 * Warns of usernames that need not be unique: of two active users with one name, neither can log in. An index over an expression of the column, such
 * as `lower(username)`, and one over a part of the rows are enough. A view has no index. A failure to find out stops no start.
 */
export async function checkUniqueNames (db: Kysely<any>, { map: { users } }: Tables, logger: Logger): Promise<void> {
  const [table, { username }] = [quoteTable(users), users.columns]
  const { rows } = await sql`select 1 from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
    where c.oid = pg_catalog.to_regclass(${table}) and c.relkind in ('r', 'p') and a.attname = ${username} and not exists (
      select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indnkeyatts = 1
        and (i.indkey[0] = a.attnum or (i.indkey[0] = 0 and exists (select from pg_catalog.pg_depend d
          where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = i.indexrelid and d.refobjid = c.oid and d.refobjsubid = a.attnum))))`.execute(db)
  if (rows.length === 0) return
  const column = quoteName(username)
  logger.warn({}, `the column ${column} of the users table ${table} (users.columns.username) has no unique index: of two users with one name, neither can log in; run "create unique index on ${table} (${column})"; see docs/options.md#users`)
}
