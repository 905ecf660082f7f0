import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Logger } from '../ports.js'
import { check } from './startup-checks.js'

/** Warns of a database that does not have every character. */
export async function checkEncoding (db: Kysely<any>, logger: Logger): Promise<void> {
  const rows = await check<{ encoding: string }>(db, sql`select current_setting('server_encoding') as encoding`, 'users')
  const { encoding } = rows[0]!
  if (encoding !== 'UTF8') logger.warn({}, `the database's encoding is ${encoding}, not UTF8: a username may have characters that it cannot store, and is refused then; see docs/options.md#database`)
}
