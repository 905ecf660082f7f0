import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { TableMap } from '../options/table-map.js'
import { selectColumns } from './columns.js'
import type { Column } from './columns.js'
import { codeOf } from './errors.js'
import { parseRows } from './values.js'

export type Values = Readonly<Record<string, unknown>>

/** A value with more characters than its column takes. */
export const TOO_LONG = '22001'

/**
 * The column whose value the database has rejected with this code; `undefined` if it cannot be found. PostgreSQL does not name it, so each value
 * is tried alone.
 */
export async function findRejected (db: Kysely<any>, users: TableMap['users'], values: Values, code: string): Promise<Column | undefined> {
  const { rows } = await selectColumns(users).execute(db)
  const isRejected = code === TOO_LONG ? isTooLong : async (column: Column, value: unknown) => await failsWith(code, db, column, value)
  for (const column of parseRows<Column>(rows)) {
    if (Object.hasOwn(values, column.name) && await isRejected(column, values[column.name])) return column
  }
  return undefined
}

// A cast would cut it off.
function isTooLong ({ maxLength }: Column, value: unknown): boolean {
  return maxLength !== null && [...String(value)].length > maxLength
}

async function failsWith (code: string, db: Kysely<any>, { type }: Column, value: unknown): Promise<boolean> {
  return await sql`select ${value}::${sql.raw(type)}`.execute(db).then(() => false, (error) => codeOf(error) === code)
}
