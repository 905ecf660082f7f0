import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import { MISSING_TABLES } from '../errors.js'
import type { TableMap } from '../options/table-map.js'
import { quoteName, quoteTable } from './quote.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

/** The users table of the application, as it is found. `idType` is `null` without the column. */
interface Found { isThere: boolean, idType: string | null }

/**
 * Reads the type of the ids of a users table that the application has.
 * @throws `FST_TOKEN_AUTH_MISSING_TABLES`, with advice, if the table or the column is missing
 */
export async function readIdType (db: Kysely<any>, users: TableMap['users']): Promise<string> {
  const name = quoteTable(users)
  const found = await find(db, name, users.columns.id)
  // A Kysely that compiles statements and sends none.
  if (found === undefined) throw new MISSING_TABLES(`The type of the ids in the users table ${name} is not known: set users.idType if there is no database to read it from`)
  if (found.idType !== null) return found.idType
  if (found.isThere) throw new MISSING_TABLES(`The users table ${name} has no column ${quoteName(users.columns.id)}: set users.columns.id to the column with its primary key`)
  throw new MISSING_TABLES(`The users table ${name} is not in the database: create it first, or correct users.table and users.schema${await suggestName(db, users, 'users')}`)
}

async function find (db: Kysely<any>, name: string, id: string): Promise<Found | undefined> {
  const { rows } = await sql<JsonRow>`select ${jsonRow({
    isThere: sql`pg_catalog.to_regclass(${name}) is not null`,
    idType: sql`(select pg_catalog.format_type(atttypid, atttypmod) from pg_catalog.pg_attribute
      where attrelid = pg_catalog.to_regclass(${name}) and attname = ${id} and not attisdropped)`
  })}`.execute(db)
  return parseRows<Found>(rows)[0]
}

interface Similar { schema: string, table: string, isNear: boolean }

/** What a name that is not found may mean, as the end of a message: a schema within the name, other letter case, another schema. */
export async function suggestName (db: Kysely<any>, { schema, table }: { schema: string | null, table: string }, group: 'users' | 'token'): Promise<string> {
  const [before, ...after] = table.split('.')
  if (schema === null && after.length > 0) return `. A name contains no schema: set ${group}.schema to '${before}' and ${group}.table to '${after.join('.')}'`
  const isNear = schema === null ? sql`n.nspname = any (pg_catalog.current_schemas(false))` : sql`n.nspname = ${schema}`
  const { rows } = await sql<JsonRow>`select ${jsonRow({ schema: sql`n.nspname`, table: sql`c.relname`, isNear })}
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where pg_catalog.lower(c.relname) = pg_catalog.lower(${table}) and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^(pg_|information_schema$)'
    order by ${isNear} desc, c.relname = ${table} desc, n.nspname limit 1`.execute(db)
  const [similar] = parseRows<Similar>(rows)
  if (similar === undefined) return ''
  return similar.isNear ? `. Did you mean ${quoteName(similar.table)}?` : `. Did you mean ${quoteTable(similar)}? Its schema is the option ${group}.schema`
}
