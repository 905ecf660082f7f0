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
  /** The most characters of a varchar or a char; `null` without a limit. */
  maxLength: number | null
}

/** Reads the columns of a table or a view, but no row of it. */
export function selectColumns (table: Parameters<typeof quoteTable>[0]): RawBuilder<JsonRow> {
  const baseType = sql`coalesce(base.typname, t.typname)`
  // Of a varchar it is the length and 4.
  const modifier = sql`case when t.typtype = 'd' then t.typtypmod else a.atttypmod end`
  const fields = {
    name: sql`a.attname`,
    type: sql`pg_catalog.format_type(a.atttypid, a.atttypmod)`,
    baseType,
    category: sql`t.typcategory`,
    isNullable: sql`not a.attnotnull`,
    maxLength: sql`case when ${baseType} in ('varchar', 'bpchar') and ${modifier} > 0 then ${modifier} - 4 end`
  }
  return sql`select ${jsonRow(fields)} from pg_catalog.pg_attribute a
    join pg_catalog.pg_type t on t.oid = a.atttypid left join pg_catalog.pg_type base on base.oid = t.typbasetype
    where a.attrelid = pg_catalog.to_regclass(${quoteTable(table)}) and a.attnum > 0 and not a.attisdropped`
}
