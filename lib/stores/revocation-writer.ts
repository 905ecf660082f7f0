import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { UNSUPPORTED } from '../errors.js'
import type { Digest, Revoked, RevocationWriter, RevokeReason } from '../../types/ports.js'
import type { UserId } from '../../types/user.js'
import { refuseChange } from './refusals.js'
import type { Sql } from './sql.js'
import type { Tables } from './tables.js'
import { ago, toBytes, toDigest } from './token-reader.js'

const NOTHING: Revoked = { found: false, ended: 0, userId: null, digests: [] }

interface EndedRow {
  id: string
  user_id: UserId | null
  digest: Buffer
  revoke_reason: RevokeReason
  ended: boolean
  recent: boolean
}

export interface RevocationWriterSettings {
  /** How far back a call that is made again looks for what was ended before: for as long as any server's cache may repeat it. */
  windowMs: number
  /** The same for users who are gone already. By default `windowMs`; shorter, since it takes them all. */
  deletedWindowMs?: number
}

/**
 * Every way to end tokens. What was ended before, within the time a cache may still repeat it, is
 * returned again: a call that is retried writes the tombstones that its first try could not.
 */
export function createRevocationWriter ({ read, run, transaction }: Sql, tables: Tables, { windowMs, deletedWindowMs = windowMs }: RevocationWriterSettings): RevocationWriter {
  const { tokens, users, column } = tables

  async function endOne (condition: RawBuilder<unknown>, reason: RevokeReason): Promise<EndedRow | undefined> {
    const { rows } = await run((db) => sql<EndedRow>`with held as (
        select id, revoked_at is null as is_live from ${tokens} where ${condition} and (revoked_at is not null or expires_at > now()) for no key update)
      update ${tokens} t set revoked_at = coalesce(t.revoked_at, clock_timestamp()), revoke_reason = coalesce(t.revoke_reason, ${reason})
      from held where t.id = held.id
      returning t.id, t.user_id, t.digest, t.revoke_reason, held.is_live as ended, t.revoked_at > ${ago(windowMs)} as recent`.execute(db))
    return rows[0]
  }

  // The list is read last. Where another call was ending a token at the same time, revokeAll has waited for its commit and
  // found nothing to end; that call may never come to tell the cache.
  async function endUser (db: Kysely<any>, userId: UserId, reason: RevokeReason): Promise<Revoked> {
    const ended = await revokeAll(db, tables, userId, reason)
    return { found: true, ended: ended.length, userId, digests: await recentlyEnded(db, tables, sql`user_id = ${userId}`, windowMs) }
  }

  async function updateUser (db: Kysely<any>, userId: UserId, set: RawBuilder<unknown>): Promise<boolean> {
    const { rows } = await sql`update ${users} set ${set} where ${column('id')} = ${userId} returning 1`.execute(db).catch(refuseChange)
    return rows.length > 0
  }

  return {
    async token (digest, reason) {
      const row = await endOne(sql`digest = ${toBytes(digest)}`, reason)
      return { ...toRevoked(row), reason: row?.revoke_reason ?? null, sessionId: row?.id ?? null }
    },
    async session (userId, sessionId, reason) {
      return toRevoked(await endOne(sql`user_id = ${userId} and id = ${sessionId}`, reason))
    },
    recentOf: (userId) => read((db) => recentlyEnded(db, tables, sql`user_id = ${userId}`, windowMs)),
    user: (userId, reason) => transaction((db) => endUser(db, userId, reason)),
    setPassword: (userId, hash) => transaction(async (db) =>
      await updateUser(db, userId, sql`${column('passwordHash')} = ${hash}`)
        ? await endUser(db, userId, 'password_changed')
        : NOTHING),
    setActive: async (userId, active) => {
      if (tables.map.users.activeWhen !== null || tables.map.users.columns.active === null) {
        throw new UNSUPPORTED('setActive needs users.columns.active; with users.activeWhen change the row yourself, then call revokeUser')
      }
      return await transaction(async (db) => {
        const found = await updateUser(db, userId, sql`${column('active')} = ${active}`)
        if (!found || active) return { ...NOTHING, found, userId }
        return await endUser(db, userId, 'deactivated')
      })
    },
    // The row is locked first: a login that got in between would leave a token that nobody has a tombstone for.
    // Rows without a user are of users that were deleted: for who asks again.
    deleteUser: (userId) => transaction(async (db) => {
      await sql`select 1 from ${users} where ${column('id')} = ${userId} for update`.execute(db)
      const { ended, digests } = await endUser(db, userId, 'user_deleted')
      const { rows: [deleted] } = await sql`delete from ${users} where ${column('id')} = ${userId} returning 1`.execute(db).catch(refuseChange)
      if (deleted !== undefined) return { found: true, ended, userId, digests }
      return { found: false, ended, userId, digests: await recentlyEnded(db, tables, sql`user_id is null`, deletedWindowMs) }
    })
  }
}

function toRevoked (row: EndedRow | undefined): Revoked {
  if (row === undefined) return NOTHING
  return { found: true, ended: row.ended ? 1 : 0, userId: row.user_id, digests: row.recent ? [toDigest(row)] : [] }
}

/**
 * Revokes those whose ids are selected. Their rows are locked before the clock is read: a lock that somebody else holds for long
 * must not make the revocation seem older than its commit.
 */
export async function revokeSelected (db: Kysely<any>, { tokens }: Tables, ids: RawBuilder<unknown>, reason: RevokeReason): Promise<{ id: string, digest: Buffer }[]> {
  const { rows } = await sql<{ id: string, digest: Buffer }>`update ${tokens} set revoked_at = clock_timestamp(), revoke_reason = ${reason}
    where id = any(array(${ids} for no key update)) returning id, digest`.execute(db)
  return rows
}

/** Revokes a user's live tokens. */
export async function revokeAll (db: Kysely<any>, tables: Tables, userId: UserId, reason: RevokeReason): Promise<{ id: string, digest: Buffer }[]> {
  return await revokeSelected(db, tables, sql`select id from ${tables.tokens}
    where user_id = ${userId} and revoked_at is null and expires_at > now() order by id`, reason)
}

/** Digests of tokens that were ended within the time a cache may still repeat them, by whomever. */
export async function recentlyEnded (db: Kysely<any>, { tokens }: Tables, condition: RawBuilder<unknown>, windowMs: number): Promise<Digest[]> {
  const { rows } = await sql<{ digest: Buffer }>`select digest from ${tokens}
    where ${condition} and revoked_at > ${ago(windowMs)}`.execute(db)
  return rows.map(toDigest)
}
