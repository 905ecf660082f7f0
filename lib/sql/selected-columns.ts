import { sql } from 'kysely'
import type { Sql } from './gateway.js'
import { quoteTable } from './quote.js'
import type { Tables } from './tables.js'

/** JSON schemas of the selected columns, by name, for the documentation of the routes. */
export type SelectedColumns = Readonly<Record<string, object>>

interface Column { name: string, type: string, isNullable: string }

/** As the values are read: see `typed`. */
const SCHEMAS: Record<string, object> = {
  bool: { type: 'boolean' },
  int2: { type: 'integer' },
  int4: { type: 'integer' },
  float4: { type: 'number' },
  float8: { type: 'number' },
  date: { type: 'string', format: 'date' },
  timestamptz: { type: 'string', format: 'date-time' },
  json: {},
  jsonb: {}
}

/** Resolves to nothing if the database cannot be read now: the columns are then documented without types. */
export async function readSelectedColumns ({ read }: Sql, { map: { users } }: Tables): Promise<SelectedColumns> {
  if (users.select.length === 0) return {}
  const { rows } = await read((db) => sql<Column>`select a.attname::text as name, (not a.attnotnull)::text as "isNullable",
      coalesce(base.typname, t.typname)::text as type
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid left join pg_catalog.pg_type base on base.oid = t.typbasetype
    where a.attrelid = pg_catalog.to_regclass(${quoteTable(users)}) and a.attname = any(${[...users.select]}::text[])`.execute(db)).catch(() => ({ rows: [] }))
  return Object.fromEntries(rows.map(({ name, type, isNullable }) => [name, orNull(schemaOf(type), isNullable === 'true')]))
}

// The name of an array's type begins with an underscore. All other values are texts.
function schemaOf (type: string): object {
  return type.startsWith('_') ? { type: 'array', items: {} } : SCHEMAS[type] ?? { type: 'string' }
}

function orNull (schema: object, isNullable: boolean): object {
  return isNullable && 'type' in schema ? { anyOf: [schema, { type: 'null' }] } : schema
}
