import { sql } from 'kysely'
import { MISSING_TABLES } from '../../errors.js'
import { codeOf, redactValues } from '../errors.js'
import { readIdType } from '../find-table.js'
import { quoteTable } from '../quote.js'
import { cachesId, membersId, tableId } from '../tables.js'
import type { TableMap } from '../../options/table-map.js'
import type { Migration } from '../../../types/migrations.js'
import { createCachesTable } from './caches.js'
import { create } from './create.js'
import { createMembersTable } from './members.js'
import { createSchema } from './schema.js'

/**
 * The tokens table, and the tables of the servers' caches. Deleting a user keeps the rows, without the user: their digests
 * tell a returning cache that they are revoked, and a new user with the same id gets no old token.
 */
export function createTokensMigration (map: TableMap): Migration {
  const { users, tokens } = map
  const table = tableId(tokens)
  return {
    async up (db) {
      await createSchema(db, tokens.schema)
      const idType = users.idType ?? await readIdType(db, users)
      const statement = sql`create table ${table} (
        id uuid primary key default gen_random_uuid(),
        digest bytea not null unique check (octet_length(digest) = 32),
        user_id ${sql.raw(idType)} references ${tableId(users)} (${sql.id(users.columns.id)}) on delete set null,
        created_at timestamptz not null default now(),
        expires_at timestamptz not null,
        last_used_at timestamptz not null default now(),
        revoked_at timestamptz,
        revoke_reason text,
        stale_at timestamptz,
        ip inet,
        user_agent text,
        label text,
        scopes text[]
      )`
      await create(db, { table: tokens, statement }).catch((error) => refuseReference(error, users))
      await sql`create index on ${table} (user_id, ip)`.execute(db)
      await sql`create index on ${table} (expires_at)`.execute(db)
      await sql`create index on ${table} (revoked_at) where revoked_at is not null`.execute(db)
      await sql`create index on ${table} (stale_at, id) where stale_at is not null`.execute(db)
      await createCachesTable(db, map)
      await createMembersTable(db, map)
    },
    async down (db) {
      await sql`drop table ${membersId(tokens)}`.execute(db)
      await sql`drop table ${cachesId(tokens)}`.execute(db)
      await sql`drop table ${table}`.execute(db)
    }
  }
}

/** Codes of a failed foreign key: no such table or column, a different type, a relation that is not a table, no unique constraint on the column. */
const UNREFERENCED = new Set(['42P01', '42703', '42804', '42809', '42830'])

function refuseReference (error: unknown, users: TableMap['users']): never {
  if (!UNREFERENCED.has(codeOf(error))) throw error
  throw new MISSING_TABLES(`No foreign key can refer to the column "${users.columns.id}" of the users table ${quoteTable(users)}: ${redactValues(error).message}. ` +
    'It must be the primary key of a table, or have a unique constraint of its own, and users.idType must be its type')
}
