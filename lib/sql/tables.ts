import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { AuthenticatedUser } from '../../types/user.js'
import type { TableMap } from '../options/table-map.js'
import { record, typed, valueOf } from './values.js'
import type { TypedValue } from './values.js'

/** SQL fragments over a table map. Identifiers are quoted; none ever comes from a request. */
export interface Tables {
  map: TableMap
  users: RawBuilder<unknown>
  tokens: RawBuilder<unknown>
  /** The server key, for pseudonyms and for the seal of cache entries. */
  serverKey: RawBuilder<unknown>
  /** The `cache.ttl` of every server. */
  caches: RawBuilder<unknown>
  /** The servers that may answer from their memory. */
  members: RawBuilder<unknown>
  /** The users with fixed column names (id, username, password_hash, is_active, f0, f1, ...): planned as the table itself. */
  usersView: RawBuilder<unknown>
  /** A user, from that view as `u`. */
  viewUser: RawBuilder<unknown>
  /** The same from the table itself, for RETURNING. */
  tableUser: RawBuilder<unknown>
  isActive: RawBuilder<boolean>
  /** Whether policies apply to this role; known after the start. */
  rowSecurity: { isActive: boolean }
  column (name: keyof TableMap['users']['columns']): RawBuilder<unknown>
  toUser (row: UserRow): AuthenticatedUser
}

export function createTables (map: TableMap): Tables {
  const { columns, select } = map.users
  const column = (name: keyof typeof columns) => sql.id(columns[name] as string)
  const isActive = activeCondition(map)
  const fields = select.map((name, index) => sql`, ${sql.id(name)} as ${sql.id(`f${index}`)}`)
  const viewColumns = sql`${column('id')} as id, ${column('username')} as username${sql.join(fields, sql``)}`
  const users = tableId(map.users)
  return {
    map,
    users,
    tokens: tableId(map.tokens),
    serverKey: serverKeyId(map.tokens),
    caches: cachesId(map.tokens),
    members: membersId(map.tokens),
    viewUser: userRecord(sql`u.id`, sql`u.username`, select.map((_name, index) => sql`u.${sql.id(`f${index}`)}`)),
    tableUser: userRecord(column('id'), column('username'), select.map((name) => sql.id(name))),
    usersView: sql`(select ${viewColumns}, ${column('passwordHash')}::text as password_hash, ${isActive} as is_active from ${users})`,
    isActive,
    rowSecurity: { isActive: false },
    column,
    toUser: ({ id, username, ...row }) => ({ id: valueOf(id), username, ...named(select, row) }) as AuthenticatedUser
  }
}

export function tableId ({ schema, table }: { schema: string | null, table: string }): RawBuilder<unknown> {
  return schema === null ? sql.id(table) : sql.id(schema, table)
}

/** Named after the tokens table, so that two sets of tables in one schema have separate keys. */
export function serverKeyTable ({ schema, table }: TableMap['tokens']): TableMap['tokens'] {
  return { schema, table: `${table}_server_key` }
}

export function cachesTable ({ schema, table }: TableMap['tokens']): TableMap['tokens'] {
  return { schema, table: `${table}_caches` }
}

export function membersTable ({ schema, table }: TableMap['tokens']): TableMap['tokens'] {
  return { schema, table: `${table}_members` }
}

export const serverKeyId = (tokens: TableMap['tokens']) => tableId(serverKeyTable(tokens))
export const cachesId = (tokens: TableMap['tokens']) => tableId(cachesTable(tokens))
export const membersId = (tokens: TableMap['tokens']) => tableId(membersTable(tokens))

function activeCondition ({ users: { activeWhen, columns } }: TableMap): RawBuilder<boolean> {
  if (activeWhen !== null) return sql<boolean>`(${sql.raw(activeWhen)})`
  if (columns.active !== null) return sql<boolean>`${sql.id(columns.active)}`
  return sql<boolean>`true`
}

/** A user as JSON. The selected columns have numbers for names, because they could have any name. */
export interface UserRow extends Record<`f${number}`, TypedValue> {
  id: TypedValue
  username: string
}

function userRecord (id: RawBuilder<unknown>, username: RawBuilder<unknown>, selected: readonly RawBuilder<unknown>[]): RawBuilder<unknown> {
  const fields = Object.fromEntries(selected.map((column, index) => [`f${index}`, typed(column)]))
  return record({ id: typed(id), username: sql`${username}::text`, ...fields })
}

function named (select: readonly string[], row: Record<`f${number}`, TypedValue>): Record<string, unknown> {
  return Object.fromEntries(select.map((name, index) => [name, valueOf(row[`f${index}`]!)]))
}
