import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { AuthenticatedUser } from '../../types/user.js'
import type { TableMap } from '../options/table-map.js'

/** SQL fragments over a table map. Identifiers are quoted; none ever comes from a request. */
export interface Tables {
  map: TableMap
  users: RawBuilder<unknown>
  tokens: RawBuilder<unknown>
  /** The server key, for pseudonyms and for the seal of cache entries. */
  serverKey: RawBuilder<unknown>
  /** The `cache.ttl` of every server. */
  caches: RawBuilder<unknown>
  /** The users with fixed column names (id, username, password_hash, is_active, f0, f1, ...): planned as the table itself. */
  usersView: RawBuilder<unknown>
  /** The columns of a user, from that view. */
  viewColumns: RawBuilder<unknown>
  /** The same from the table itself, for RETURNING. */
  userColumns: RawBuilder<unknown>
  isActive: RawBuilder<boolean>
  column (name: keyof TableMap['users']['columns']): RawBuilder<unknown>
  toUser (row: Record<string, unknown>): AuthenticatedUser
}

export function createTables (map: TableMap): Tables {
  const { columns, select } = map.users
  const column = (name: keyof typeof columns) => sql.id(columns[name] as string)
  const isActive = activeCondition(map)
  const fields = select.map((name, index) => sql`, ${sql.id(name)} as ${sql.id(`f${index}`)}`)
  const userColumns = sql`${column('id')} as id, ${column('username')} as username${sql.join(fields, sql``)}`
  const users = tableId(map.users)
  return {
    map,
    users,
    tokens: tableId(map.tokens),
    serverKey: serverKeyId(map.tokens),
    caches: cachesId(map.tokens),
    userColumns,
    viewColumns: sql.join([sql`u.id`, sql`u.username`, ...select.map((_name, index) => sql`u.${sql.id(`f${index}`)}`)]),
    usersView: sql`(select ${userColumns}, ${column('passwordHash')}::text as password_hash, ${isActive} as is_active from ${users})`,
    isActive,
    column,
    toUser: (row) => plain({ id: row['id'], username: row['username'], ...named(select, row) })
  }
}

export function tableId ({ schema, table }: { schema: string | null, table: string }): RawBuilder<unknown> {
  return schema === null ? sql.id(table) : sql.id(schema, table)
}

/** Named after the tokens table, so that two sets of tables in one schema have separate keys. */
export function serverKeyId ({ schema, table }: TableMap['tokens']): RawBuilder<unknown> {
  return tableId({ schema, table: `${table}_server_key` })
}

export function cachesId ({ schema, table }: TableMap['tokens']): RawBuilder<unknown> {
  return tableId({ schema, table: `${table}_caches` })
}

function activeCondition ({ users: { activeWhen, columns } }: TableMap): RawBuilder<boolean> {
  if (activeWhen !== null) return sql<boolean>`(${sql.raw(activeWhen)})`
  if (columns.active !== null) return sql<boolean>`${sql.id(columns.active)}`
  return sql<boolean>`true`
}

function named (select: readonly string[], row: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(select.map((name, index) => [name, row[`f${index}`]]))
}

// As in JSON, so that a user from SQL equals the same user from the cache.
function plain (user: Record<string, unknown>): AuthenticatedUser {
  return JSON.parse(JSON.stringify(user, (_key, value) => typeof value === 'bigint' ? value.toString() : value))
}
