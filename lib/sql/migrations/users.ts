import { sql } from 'kysely'
import type { TableMap } from '../../options/table-map.js'
import type { Migration } from '../../../types/migrations.js'
import { tableId } from '../tables.js'
import { createSchema } from './schema.js'

/** The users table of applications that have none. */
export function createUsersMigration ({ users }: TableMap): Migration {
  const table = tableId(users)
  return {
    async up (db) {
      await createSchema(db, users.schema)
      await sql`create table ${table} (
        id uuid primary key default gen_random_uuid(),
        username text not null unique,
        password_hash text,
        active boolean not null default true,
        last_login timestamptz,
        created_at timestamptz not null default now()
      )`.execute(db)
    },
    async down (db) {
      await sql`drop table ${table}`.execute(db)
    }
  }
}
