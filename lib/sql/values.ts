import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'

/** What a statement returns: one column `row`, a JSON text. */
export interface JsonRow { row: string }

/** A value of a type that is only known at run time: the type's OID and the value as JSON. */
export type TypedValue = [oid: number, json: unknown]

export type Fields = Readonly<Record<string, RawBuilder<unknown>>>

/** Object identifiers that never change, from PostgreSQL's pg_type.dat. */
const TIMESTAMPTZ = 1184

/**
 * The result of a statement, as one JSON text. The database writes it, so parsers that the application has set in `pg.types`, the DateStyle
 * of the role and a pooler's cached statements change nothing.
 */
export function jsonRow (fields: Fields): RawBuilder<JsonRow> {
  return sql<JsonRow>`pg_catalog.to_json(${record(fields)})::text as row`
}

/** Fields within a field. */
export function record (fields: Fields): RawBuilder<unknown> {
  const columns = Object.entries(fields).map(([name, value]) => sql`${value} as ${sql.id(name)}`)
  return sql`(select r from (select ${sql.join(columns)}) r)`
}

/**
 * A column of whatever type. Numbers of JSON would lose digits of `bigint` and `numeric`, so these are texts. `coalesce` turns a domain into
 * its base type.
 */
export function typed (column: RawBuilder<unknown>): RawBuilder<unknown> {
  const type = sql`pg_catalog.pg_typeof(coalesce(${column}, null))`
  return sql`pg_catalog.json_build_array(${type}::oid::int, case when ${type} in ('bigint'::regtype, 'numeric'::regtype) then pg_catalog.to_json(${column}::text) else pg_catalog.to_json(${column}) end)`
}

export function parseRows<Row> (rows: readonly JsonRow[]): Row[] {
  return rows.map(({ row }) => JSON.parse(row) as Row)
}

/** The value as documented: as JSON, and an instant in UTC, whatever the zone of the session. */
export function valueOf ([oid, value]: TypedValue): unknown {
  const time = oid === TIMESTAMPTZ ? Date.parse(String(value)) : NaN
  return Number.isNaN(time) ? value : new Date(time).toISOString()
}
