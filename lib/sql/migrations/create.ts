import type { Kysely, RawBuilder } from 'kysely'
import { MISSING_TABLES } from '../../errors.js'
import { codeOf } from '../errors.js'
import { quoteTable } from '../quote.js'

/** Codes of a relation and of a type that exist already. Each table has a type of its name. */
const EXISTS = new Set(['42P07', '42710'])

interface Creation {
  table: Parameters<typeof quoteTable>[0]
  statement: RawBuilder<unknown>
  /** What to do if something else has the name. */
  advice?: string
}

const ADVICE = 'If this package has created it, as with migrate --sql or in another Migrator, run no migrations here. Otherwise choose another name with token.table, or another schema with token.schema'

/** Creates a table. @throws `FST_TOKEN_AUTH_MISSING_TABLES`, with advice, if its name is taken */
export async function create (db: Kysely<any>, { table, statement, advice = ADVICE }: Creation): Promise<void> {
  await statement.execute(db).catch((error) => {
    if (!EXISTS.has(codeOf(error))) throw error
    throw new MISSING_TABLES(`${quoteTable(table)} exists already, and these migrations have not created it. ${advice}`)
  })
}
