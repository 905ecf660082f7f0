import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { INVALID_INPUT, USERNAME_TAKEN } from '../errors.js'
import { codeOf, isUniqueViolation, redactValues } from './errors.js'
import { quoteTable } from './quote.js'
import type { Tables } from './tables.js'

/** A trigger of the host's that raises an exception. */
const RAISED = 'P0001'
/** A column that is given twice, that there is not, or that the database fills in: of `fields`, which the caller chose. */
const BAD_COLUMN = new Set(['42701', '42703', '428C9'])
/** Characters that the database's encoding has no place for. */
const UNSTORABLE = new Set(['22021', '22P05'])

interface Violation { schema: string, table: string, constraint: string }

/** Throws the error of a change to the users table; as the caller's fault if a trigger refuses it. */
export function refuseChange (error: unknown): never {
  throw codeOf(error) === RAISED ? new INVALID_INPUT({ cause: redactValues(error) }) : error
}

/** Throws the error of a new user, with the username as taken if that is what is not unique. */
export async function refuseUser (db: Kysely<any>, { map }: Tables, error: unknown): Promise<never> {
  if (isUniqueViolation(error) && await hasColumn(db, error as Violation, map.users.columns.username)) throw new USERNAME_TAKEN()
  if (BAD_COLUMN.has(codeOf(error))) throw new INVALID_INPUT({ cause: redactValues(error) })
  return refuseChange(error)
}

/** No rows, for a text that none can have; throws every other error. */
export function noRows (error: unknown): { rows: never[] } {
  if (UNSTORABLE.has(codeOf(error))) return { rows: [] }
  throw error
}

// What the index is over, also within an expression such as lower(username): its name tells nothing.
async function hasColumn (db: Kysely<any>, { schema, table, constraint }: Violation, column: string): Promise<boolean> {
  const { rows } = await sql`select from pg_catalog.pg_index i
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid
    where i.indrelid = to_regclass(${quoteTable({ schema, table })}) and c.relname = ${constraint} and a.attname = ${column}
    and (a.attnum = any(i.indkey) or exists (select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid and d.refobjid = i.indrelid and d.refobjsubid = a.attnum))`.execute(db)
  return rows.length > 0
}
