import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Logger } from '../ports.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

/**
 * Warns of schemas in the search_path where every role may create functions and operators, as in `public` of databases made before
 * PostgreSQL 15: another role could replace those that the statements use (CVE-2018-1058). A failure to find out stops no start.
 */
export async function checkSearchPath (db: Kysely<any>, logger: Logger): Promise<void> {
  const { rows } = await sql<JsonRow>`select ${jsonRow({ schema: sql`pg_catalog.quote_ident(name)` })} from pg_catalog.unnest(pg_catalog.current_schemas(false)) name
    where pg_catalog.has_schema_privilege('public', name, 'create')
    and exists (select from pg_catalog.pg_roles where rolcanlogin and not rolsuper and rolname <> current_user)`.execute(db)
  for (const { schema } of parseRows<{ schema: string }>(rows)) {
    logger.warn({}, `every role of the database may create functions in the schema ${schema}, and so change what the server's statements do: run "revoke create on schema ${schema} from public"; see docs/storage.md#postgresql-grants`)
  }
}
