import { selectColumns } from './columns.js'
import type { Column } from './columns.js'
import type { Sql } from './gateway.js'
import type { Tables } from './tables.js'
import { parseRows } from './values.js'

/** JSON schemas of the selected columns, by name, for the documentation of the routes. */
export type SelectedColumns = Readonly<Record<string, object>>

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
  const { rows } = await read((db) => selectColumns(users).execute(db)).catch(() => ({ rows: [] }))
  const selected = parseRows<Column>(rows).filter(({ name }) => users.select.includes(name))
  return Object.fromEntries(selected.map(({ name, baseType, isNullable }) => [name, orNull(schemaOf(baseType), isNullable)]))
}

// The name of an array's type begins with an underscore. All other values are texts.
function schemaOf (type: string): object {
  return type.startsWith('_') ? { type: 'array', items: {} } : SCHEMAS[type] ?? { type: 'string' }
}

function orNull (schema: object, isNullable: boolean): object {
  return isNullable && 'type' in schema ? { anyOf: [schema, { type: 'null' }] } : schema
}
