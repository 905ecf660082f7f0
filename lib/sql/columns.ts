import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import { quoteTable } from './quote.js'
import { jsonRow } from './values.js'
import type { JsonRow } from './values.js'

export interface Column {
  name: string
  /** As a user would write it: `character varying(255)`. */
  type: string
  /** The name of the type, or of a domain's base type: `varchar`. */
  baseType: string
  /** PostgreSQL's category of the type; a domain has that of its base type. */
  category: string
  isNullable: boolean
}

/** Reads the columns of a table or a view, but no row of it. */
export function selectColumns (table: Parameters<typeof quoteTable>[0]): RawBuilder<JsonRow> {
  const fields = {
    name: sql`a.attname`,
    type: sql`pg_catalog.format_type(a.atttypid, a.atttypmod)`,
    baseType: sql`coalesce(base.typname, t.typname)`,
    category: sql`t.typcategory`,
    isNullable: sql`not a.attnotnull`
  }
  return sql`select ${jsonRow(fields)} from pg_catalog.pg_attribute a
    join pg_catalog.pg_type t on t.oid = a.atttypid left join pg_catalog.pg_type base on base.oid = t.typbasetype
    where a.attrelid = pg_catalog.to_regclass(${quoteTable(table)}) and a.attnum > 0 and not a.attisdropped`
}
