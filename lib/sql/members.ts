import { sql } from 'kysely'
import type { Member, MemberStore } from '../ports.js'
import type { Sql } from './gateway.js'
import type { Tables } from './tables.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

/** The table of the servers that answer from their memory. Every revocation reads it, so it is read and written outside the bounds of lookups. */
export function createMemberStore ({ read, run }: Sql, { members }: Tables): MemberStore {
  return {
    async join (id, leaseMs) {
      await run((db) => sql`insert into ${members} (id, lease_ms) values (${id}, ${leaseMs}) on conflict (id) do nothing`.execute(db))
    },
    async isMember (id) {
      const { rows } = await read((db) => sql`select 1 from ${members} where id = ${id} and not is_expelled`.execute(db))
      return rows.length > 0
    },
    async list () {
      const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ id: sql`id`, leaseMs: sql`lease_ms`, isExpelled: sql`is_expelled` })} from ${members}`.execute(db))
      return parseRows<Member>(rows)
    },
    async expel (ids) {
      await run((db) => sql`update ${members} set is_expelled = true where id = any(${ids})`.execute(db))
    },
    async remove (ids) {
      await run((db) => sql`delete from ${members} where id = any(${ids})`.execute(db))
    }
  }
}
