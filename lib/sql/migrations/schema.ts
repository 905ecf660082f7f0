import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { quoteName, quoteText } from '../quote.js'

/**
 * Makes the schema where it is missing. Not `create schema if not exists`: that asks for the right to make
 * schemas also where there is nothing to make. One statement without parameters, so that it can be printed.
 */
export async function createSchema (db: Kysely<any>, schema: string | null): Promise<void> {
  if (schema === null) return
  const name = quoteName(schema)
  const block = `begin if to_regnamespace(${quoteText(name)}) is null then create schema ${name}; end if; end`
  await sql`do ${sql.raw(quoteText(block))}`.execute(db)
}
