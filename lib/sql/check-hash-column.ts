import { MISSING_TABLES } from '../errors.js'
import type { Column } from './columns.js'
import { quoteName, quoteTable } from './quote.js'
import type { Tables } from './tables.js'

/**
 * Checks that the column takes the hashes that will be written: with a shorter one, users with an old hash could log in, and nobody could change
 * a password. `hashLength` is not called without a limit: it computes a hash.
 * @throws `FST_TOKEN_AUTH_MISSING_TABLES`, naming the column
 */
export async function checkHashLimit (columns: readonly Column[], hashLength: () => Promise<number>, { map: { users } }: Tables): Promise<void> {
  const limit = columns.find(({ name }) => name === users.columns.passwordHash)!.maxLength
  if (limit === null) return
  // A hasher that fails is reported by the first login.
  const needed = await hashLength().catch(() => 0)
  if (needed <= limit) return
  throw new MISSING_TABLES(`The column ${quoteName(users.columns.passwordHash)} of the users table ${quoteTable(users)} (users.columns.passwordHash) takes ${limit} characters, ` +
    `but a hash of the option hasher may have ${needed}: change its type to text or varchar(${needed})`)
}
