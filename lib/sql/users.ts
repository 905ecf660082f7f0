import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { Credentials, Logger, UserStore } from '../ports.js'
import { atMostEvery } from '../tools/quiet-log.js'
import { noRows, refuseChange, refuseOwnColumns, refuseUser } from './refusals.js'
import type { CallOptions, Sql } from './gateway.js'
import type { Tables, UserRow } from './tables.js'
import { jsonRow, parseRows, typed, valueOf } from './values.js'
import type { JsonRow, TypedValue } from './values.js'
import type { UserId } from '../../types/user.js'

const REPORT_MS = 600_000

export function createUserStore ({ read, run }: Sql, tables: Tables, logger: Pick<Logger, 'warn'>): UserStore {
  // Without the name: it may be a password. A guesser must not fill the log.
  const reportNamesakes = atMostEvery(REPORT_MS, (userIds: unknown[]) => {
    logger.warn({ userIds }, 'users cannot log in because they have the same username: see docs/options.md#users')
  })

  async function findOne<Row> (fields: Record<string, RawBuilder<unknown>>, condition: RawBuilder<unknown>, options?: CallOptions): Promise<Row | null> {
    const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ ...fields, id: typed(sql`id`), active: sql`is_active` })}
      from ${tables.usersView} u where ${condition} order by (is_active is true) desc limit 2`.execute(db).catch(noRows), options)
    const [first, second] = parseRows<Row & Found>(rows)
    if (first === undefined) return null
    // Two rows for one name are ambiguous: refused like an unknown name. But a deleted account that is kept as inactive does not stand in the way
    // of the active one with its name.
    if (second === undefined || Boolean(first.active) !== Boolean(second.active)) return first
    if (first.active === true) reportNamesakes([first, second].map(({ id }) => valueOf(id)))
    return null
  }

  async function findCredentials (condition: RawBuilder<unknown>, options?: CallOptions): Promise<Credentials | null> {
    const found = await findOne<CredentialsRow>({ username: sql`username::text`, passwordHash: sql`password_hash` }, condition, options)
    return found === null ? null : { ...found, id: valueOf(found.id) as UserId }
  }

  return {
    findCredentials: (username) => findCredentials(sql`username = ${username}`, { bound: 'logins' }),
    async find (username) {
      const found = await findOne<{ user: UserRow }>({ user: tables.viewUser }, sql`username = ${username}`)
      return found === null ? null : tables.toUser(found.user)
    },
    findCredentialsById: (userId) => findCredentials(sql`id = ${userId}`),
    async rehash (userId, from, to) {
      const { rows } = await run((db) => sql`update ${tables.users} set ${tables.column('passwordHash')} = ${to}
        where ${tables.column('id')} = ${userId} and ${tables.column('passwordHash')} = ${from} returning 1`.execute(db).catch(refuseChange))
      return rows.length === 1
    },
    async create ({ username, passwordHash, fields }) {
      refuseOwnColumns(fields, tables)
      const { columns } = tables.map.users
      const values = { ...fields, [columns.username]: username, [columns.passwordHash]: passwordHash }
      const { rows } = await run((db) => sql<JsonRow>`insert into ${tables.users} (${sql.join(Object.keys(values).map((name) => sql.id(name)))})
        values (${sql.join(Object.values(values))})
        returning ${jsonRow({ user: tables.tableUser })}`.execute(db).catch((error) => refuseUser(db, tables, values, error)))
      return tables.toUser(parseRows<{ user: UserRow }>(rows)[0]!.user)
    }
  }
}

interface Found { id: TypedValue, active: boolean | null }
type CredentialsRow = Omit<Credentials, 'id'> & { id: TypedValue }
