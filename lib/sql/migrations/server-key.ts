import { sql } from 'kysely'
import type { Migration } from 'kysely'
import { serverKeyId } from '../tables.js'
import type { TableMap } from '../../options/table-map.js'

/** One row with 32 random bytes, made by the database: the key that every server shares, of pseudonyms and of the seal of cache entries. */
export function createServerKeyMigration ({ tokens }: TableMap): Migration {
  const table = serverKeyId(tokens)
  return {
    async up (db) {
      await sql`create table ${table} (
        id boolean primary key default true check (id),
        value bytea not null check (octet_length(value) = 32)
      )`.execute(db)
      // PostgreSQL itself has no other source of strong random bytes; two of its UUIDs have 244 random bits.
      await sql`insert into ${table} (value) values (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))`.execute(db)
    },
    async down (db) {
      await sql`drop table ${table}`.execute(db)
    }
  }
}
