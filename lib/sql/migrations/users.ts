import { sql } from 'kysely'
import type { TableMap } from '../../options/table-map.js'
import type { Migration } from '../../../types/migrations.js'
import { tableId } from '../tables.js'
import { create } from './create.js'
import { createSchema } from './schema.js'

/** The users table of applications that have none. */
export function createUsersMigration ({ users }: TableMap): Migration {
  const table = tableId(users)
  return {
    async up (db) {
      await createSchema(db, users.schema)
      const statement = sql`create table ${table} (
        id uuid primary key default gen_random_uuid(),
        username text not null unique,
        password_hash text,
        active boolean not null default true,
        last_login timestamptz,
        created_at timestamptz not null default now()
      )`
      await create(db, { table: users, statement, advice: adviceOf(users) })
    },
    async down (db) {
      await sql`drop table ${table}`.execute(db)
    }
  }
}

function adviceOf ({ table }: TableMap['users']): string {
  return 'If it is a table of your own, map it with users.table and users.columns. ' +
    `If this package has created it, for another token.table or token.schema, name it: users.table: '${table}'. ` +
    'Otherwise choose a schema for the users with users.schema'
}
