import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type { ServerKey } from '../crypto/seal.js'
import { MISSING_TABLES } from '../errors.js'
import { lazy } from '../tools/lazy.js'
import type { Sql } from './gateway.js'
import { noRowsFor } from './refusals.js'
import type { Tables } from './tables.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

/** The function may be forbidden, or missing in a compatible database. */
const noIdentifier = noRowsFor(new Set(['42501', '42883']))

/**
 * The key of all servers on one database: nobody configures it, and Redis never holds it. It is made of the row that the migrations create and
 * of the database's own identity, because a copy of the database has the same row: an entry that a server on a copy has cached may be of a
 * token that was revoked since.
 */
export function createServerKey ({ read }: Sql, { serverKey }: Tables): ServerKey {
  const key = lazy(async () => {
    const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ value: sql`pg_catalog.encode(value, 'hex')`, database: sql`(select oid::text from pg_catalog.pg_database where datname = current_database())` })}
      from ${serverKey}`.execute(db), { bound: 'logins' })
    const [row] = parseRows<{ value: string, database: string }>(rows)
    if (row === undefined) throw new MISSING_TABLES('The server key table has no row: revert the migration 0003_token_auth_server_key and apply it again')
    return createHash('sha256').update(row.value, 'hex').update(`${await readSystemIdentifier({ read })} ${row.database}`).digest()
  })
  return { current: () => key.value, load: key.get }
}

/** Differs from one `initdb` to the next. A physical copy keeps it. */
async function readSystemIdentifier ({ read }: Pick<Sql, 'read'>): Promise<string> {
  const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ id: sql`system_identifier::text` })} from pg_catalog.pg_control_system()`.execute(db).catch(noIdentifier), { bound: 'logins' })
  return parseRows<{ id: string }>(rows)[0]?.id ?? ''
}
