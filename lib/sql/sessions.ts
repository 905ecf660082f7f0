import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { INVALID_TOKEN } from '../errors.js'
import type { IssuedToken, SessionStore, TokenRequest } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { AuthenticatedUser, UserId } from '../../types/user.js'
import { epochMs, staleSince, toBytes, toDigest } from './codec.js'
import { recentlyEnded, revokeAll, revokeSelected } from './revocations.js'
import { refuseChange } from './refusals.js'
import type { Sql } from './gateway.js'
import type { Tables, UserRow } from './tables.js'
import { jsonRow, parseRows } from './values.js'
import type { JsonRow } from './values.js'

/**
 * All transactions that issue a token. They lock the user's row first, with the verified hash as a condition:
 * with a plain INSERT, a login with the old password could outlive the password change.
 */
export function createSessionStore ({ transaction }: Sql, tables: Tables, { maxPerUser, cacheTtlMs }: { maxPerUser: number, cacheTtlMs: number }): SessionStore {
  const claim = createClaim(tables)
  const since = staleSince(tables, cacheTtlMs)

  async function issueTo (db: Kysely<any>, user: AuthenticatedUser, token: TokenRequest): Promise<IssuedToken> {
    const row = await insertToken(db, tables, user.id, token)
    const digests = await trim(db, tables, user.id, row.id, maxPerUser)
    return { sessionId: row.id, user, createdAt: new Date(row.createdAt), expiresAt: new Date(row.expiresAt), displaced: { count: digests.length, digests } }
  }

  return {
    login: (userId, verifiedHash, token) => transaction(async (db) => {
      const user = await claim.withHash(db, userId, verifiedHash)
      return user === null ? null : await issueTo(db, user, token)
    }, { ends: { userId } }),
    issue: (userId, token) => transaction(async (db) => {
      const user = await claim.locked(db, userId)
      return user === null ? null : await issueTo(db, user, token)
    }, { ends: { userId } }),
    changePassword: ({ userId, sessionId, verifiedHash, newHash, token }) => transaction(async (db) => {
      const user = await claim.withNewHash(db, userId, verifiedHash, newHash)
      if (user === null) return null
      const ended = await revokeAll(db, tables, userId, 'password_changed')
      // Thrown, so that the transaction rolls back: a session that has ended in the meantime changes nothing.
      if (!ended.some(({ id }) => id === sessionId)) throw new INVALID_TOKEN()
      // Includes tokens that other calls have ended: those may never reach the cache, and this call confirms that every session has ended.
      const digests = await recentlyEnded(db, tables, sql`user_id = ${userId}`, since)
      const inherited = { ...token, ...await limitsOf(db, tables, sessionId) }
      return { ...await issueTo(db, user, inherited), displaced: { count: ended.length, digests } }
    }, { ends: { userId } })
  }
}

/** For the transaction, so that a time of the last login without a zone, or its date, is in UTC whatever the zone of the role. */
const IN_UTC = sql` from (select pg_catalog.set_config('TimeZone', 'UTC', true)) zone`

/** Statements that lock an active user's row and return the user, or no row. */
function createClaim (tables: Tables) {
  const { users, tableUser, isActive, column } = tables
  const result = jsonRow({ user: tableUser })
  const { lastLogin } = tables.map.users.columns

  async function one (db: Kysely<any>, statement: RawBuilder<JsonRow>): Promise<AuthenticatedUser | null> {
    const { rows } = await statement.execute(db)
    const [row] = parseRows<{ user: UserRow }>(rows)
    return row === undefined ? null : tables.toUser(row.user)
  }

  const update = (set: RawBuilder<unknown>, userId: UserId, hash: string, from = sql``) =>
    sql<JsonRow>`update ${users} set ${set}${from} where ${column('id')} = ${userId}
      and ${column('passwordHash')} = ${hash} and ${isActive} returning ${result}`
  const lock = (condition: RawBuilder<unknown>) =>
    sql<JsonRow>`select ${result} from ${users} where ${condition} and ${isActive} for no key update`

  return {
    withHash: (db: Kysely<any>, userId: UserId, hash: string) => one(db, lastLogin === null
      ? lock(sql`${column('id')} = ${userId} and ${column('passwordHash')} = ${hash}`)
      : update(sql`${column('lastLogin')} = now()`, userId, hash, IN_UTC)),
    withNewHash: (db: Kysely<any>, userId: UserId, hash: string, newHash: string) =>
      one(db, update(sql`${column('passwordHash')} = ${newHash}`, userId, hash)).catch(refuseChange),
    locked: (db: Kysely<any>, userId: UserId) => one(db, lock(sql`${column('id')} = ${userId}`))
  }
}

// The new token keeps these: a token with scopes must not get an unlimited one by changing the password.
async function limitsOf (db: Kysely<any>, { tokens }: Tables, sessionId: string): Promise<Pick<TokenRequest, 'label' | 'scopes'>> {
  const { rows } = await sql<JsonRow>`select ${jsonRow({ label: sql`label`, scopes: sql`scopes` })} from ${tokens} where id = ${sessionId}`.execute(db)
  return parseRows<Pick<TokenRequest, 'label' | 'scopes'>>(rows)[0]!
}

interface NewRow { id: string, createdAt: number, expiresAt: number }

async function insertToken (db: Kysely<any>, { tokens }: Tables, userId: UserId, token: TokenRequest): Promise<NewRow> {
  const { rows } = await sql<JsonRow>`insert into ${tokens} (digest, user_id, expires_at, ip, user_agent, label, scopes)
    values (${toBytes(token.digest)}, ${userId}, now() + ${token.ttlMs}::float8 * interval '1 millisecond',
      ${token.ip}::inet, ${token.userAgent}, ${token.label}, ${token.scopes}::text[])
    returning ${jsonRow({ id: sql`id`, createdAt: epochMs(sql`created_at`), expiresAt: epochMs(sql`expires_at`) })}`.execute(db)
  return parseRows<NewRow>(rows)[0]!
}

// The new token never displaces itself, even if its transaction started before one that committed first. Tokens with a label are API tokens:
// they are not counted, because logins would end them without anybody noticing.
async function trim (db: Kysely<any>, tables: Tables, userId: UserId, newId: string, maxPerUser: number): Promise<Digest[]> {
  const { tokens } = tables
  const rows = await revokeSelected(db, tables, sql`select id from ${tokens} where revoked_at is null and id in (
    select id from ${tokens} where user_id = ${userId} and revoked_at is null and expires_at > now() and label is null
    order by id = ${newId} desc, created_at desc, id desc offset ${sql.lit(maxPerUser)})`, 'too_many')
  return rows.map(toDigest)
}
