import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { quoteName, quoteText } from '../quote.js'

/**
 * Creates the schema if it is missing. Not with `create schema if not exists`, which requires the privilege to create
 * schemas even if there is nothing to create. One statement without parameters, so that it can be printed.
 */
export async function createSchema (db: Kysely<any>, schema: string | null): Promise<void> {
  if (schema === null) return
  const name = quoteName(schema)
  const block = `begin if to_regnamespace(${quoteText(name)}) is null then create schema ${name}; end if; end`
  await sql`do ${sql.raw(quoteText(block))}`.execute(db)
}
