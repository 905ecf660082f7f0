import { sql } from 'kysely'
import type { ServerKey } from '../crypto/seal.js'
import { MISSING_TABLES } from '../errors.js'
import { lazy } from '../tools/lazy.js'
import type { Sql } from './gateway.js'
import type { Tables } from './tables.js'

/** The key that the migrations create: all servers share it, nobody configures it, and Redis never holds it. */
export function createServerKey ({ read }: Sql, tables: Tables): ServerKey {
  const key = lazy(async () => {
    const { rows: [row] } = await read((db) => sql<{ value: string }>`select encode(value, 'hex') as value from ${tables.serverKey}`.execute(db), { bound: 'logins' })
    if (row === undefined) throw new MISSING_TABLES('The server key table has no row: revert the migration 0003_token_auth_server_key and apply it again')
    return Buffer.from(row.value, 'hex')
  })
  return { current: () => key.value, load: key.get }
}
