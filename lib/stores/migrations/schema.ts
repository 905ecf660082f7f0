import { sql } from 'kysely'
import type { Kysely } from 'kysely'

/**
 * Makes the schema where it is missing. Not `create schema if not exists`: that asks for the right to make
 * schemas also where there is nothing to make. One statement without parameters, so that it can be printed.
 */
export async function createSchema (db: Kysely<any>, schema: string | null): Promise<void> {
  if (schema === null) return
  const quoted = `"${schema.replaceAll('"', '""')}"`
  await sql`do $fta$ begin if to_regnamespace(${sql.lit(quoted)}) is null then create schema ${sql.id(schema)}; end if; end $fta$`.execute(db)
}
