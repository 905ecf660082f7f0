import { sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { Credentials, UserStore } from '../ports.js'
import { noRows, refuseUser } from './refusals.js'
import type { CallOptions, Sql } from './gateway.js'
import type { Tables } from './tables.js'

export function createUserStore ({ read, run }: Sql, tables: Tables): UserStore {
  async function findOne (condition: RawBuilder<unknown>, options?: CallOptions): Promise<Credentials | null> {
    const { rows: [first, second] } = await read((db) => sql<Credentials>`select id, username, password_hash as "passwordHash", is_active as active
      from ${tables.usersView} u where ${condition} order by (is_active is true) desc limit 2`.execute(db).catch(noRows), options)
    return isAmbiguous(first, second) ? null : first!
  }

  return {
    findByUsername: (username) => findOne(sql`username = ${username}`, { bound: 'logins' }),
    async find (username) {
      const { rows: [first, second] } = await read((db) => sql<Record<string, unknown>>`select ${tables.viewColumns}, is_active as active
        from ${tables.usersView} u where username = ${username} order by (is_active is true) desc limit 2`.execute(db).catch(noRows))
      return isAmbiguous(first, second) ? null : tables.toUser(first!)
    },
    findById: (userId) => findOne(sql`id = ${userId}`),
    async rehash (userId, from, to) {
      const { rows } = await run((db) => sql`update ${tables.users} set ${tables.column('passwordHash')} = ${to}
        where ${tables.column('id')} = ${userId} and ${tables.column('passwordHash')} = ${from} returning 1`.execute(db))
      return rows.length === 1
    },
    async create ({ username, passwordHash, fields }) {
      const names = [tables.column('username'), tables.column('passwordHash'), ...Object.keys(fields).map((name) => sql.id(name))]
      const { rows } = await run((db) => sql<Record<string, unknown>>`insert into ${tables.users} (${sql.join(names)})
        values (${sql.join([username, passwordHash, ...Object.values(fields)])})
        returning ${tables.userColumns}`.execute(db).catch((error) => refuseUser(db, tables, error)))
      return tables.toUser(rows[0]!)
    }
  }
}

interface Flagged { active?: unknown }

// Two rows for one name are ambiguous: refused like an unknown name. But a deleted account that is kept as inactive does not stand in the way
// of the active one with its name.
function isAmbiguous (first: Flagged | undefined, second: Flagged | undefined): boolean {
  return first === undefined || (second !== undefined && Boolean(first.active) === Boolean(second.active))
}
