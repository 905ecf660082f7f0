import { sql } from 'kysely'
import type { Kysely, RawBuilder } from 'kysely'
import { UNSUPPORTED } from '../errors.js'
import type { RevocationStore, RevocationSubject, Revoked } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { RevokeReason } from '../../types/events.js'
import type { UserId } from '../../types/user.js'
import { ago, digestHex, staleSince, toBytes, toDigest } from './codec.js'
import type { CallOptions, Sql } from './gateway.js'
import { refuseHidden } from './hidden-rows.js'
import { refuseChange } from './refusals.js'
import { DATE_AGAIN_MS } from '../tools/stale-window.js'
import type { Tables } from './tables.js'
import { jsonRow, parseRows, typed, valueOf } from './values.js'
import type { JsonRow, TypedValue } from './values.js'

const NOTHING: Revoked = { found: false, userId: null, count: 0, digests: [] }

/** How far back a repeated call about one token finds what the first call ended. */
const REPEAT_MS = 86_400_000

/** Margin between the time of a revocation and the start of its call, in addition to the duration of the call. */
const MARGIN_MS = 1000

interface EndedRow {
  id: string
  userId: TypedValue
  digest: string
  reason: RevokeReason
  ended: boolean
  recent: boolean
}

interface DigestRow { digest: string }
interface OwnedRow extends DigestRow { userId: TypedValue }
interface RevokedRow extends DigestRow { id: string }

/**
 * All ways to end tokens. Tokens that were ended earlier, and that a cache may still contradict, are returned again: a repeated
 * call writes the tombstones that the first one could not.
 */
export function createRevocationStore ({ read, run, transaction }: Sql, tables: Tables, { cacheTtlMs }: { cacheTtlMs: number }): RevocationStore {
  const { tokens, users, column } = tables
  const since = staleSince(tables, cacheTtlMs)

  async function endOne (condition: RawBuilder<unknown>, reason: RevokeReason, options: CallOptions): Promise<EndedRow | undefined> {
    const fields = jsonRow({
      id: sql`id`,
      userId: typed(sql`user_id`),
      digest: digestHex,
      reason: sql`coalesce(revoke_reason, ${reason})`,
      ended: sql`revoked_at is null`,
      recent: sql`coalesce(revoked_at > ${ago(REPEAT_MS)}, true)`
    })
    const { rows } = await run((db) => sql<JsonRow>`with held as (
        select id, user_id, digest, revoked_at, revoke_reason, stale_at from ${tokens}
        where ${condition} and (revoked_at is not null or expires_at > now()) for no key update
      ), instant as (select clock_timestamp() as at from held), ended as (
        update ${tokens} t set revoked_at = coalesce(t.revoked_at, instant.at), revoke_reason = coalesce(t.revoke_reason, ${reason}), stale_at = instant.at
        from held, instant where t.id = held.id and (held.revoked_at is null or ${isDatedAgain(sql`held`)})
      ) select ${fields} from held`.execute(db), options)
    const [row] = parseRows<EndedRow>(rows)
    if (row === undefined) await refuseHidden((statement) => read((db) => statement.execute(db), { bound: 'lookups' }), tables, condition)
    return row
  }

  // The list is read last. If another call ended a token at the same time, revokeAll has waited for its commit and
  // found nothing to end; the other call may never write the tombstone.
  async function endUser (db: Kysely<any>, userId: UserId, reason: RevokeReason): Promise<Revoked> {
    const ended = await revokeAll(db, tables, userId, reason)
    await refuseHidden((statement) => statement.execute(db), tables, sql`user_id = ${userId}`)
    return { found: true, userId, count: ended.length, digests: await recentlyEnded(db, tables, isOfUser(userId), since) }
  }

  // Rows without a user belong to deleted users. The call that deleted this one may never write its tombstones.
  function isOfUser (userId: UserId): RawBuilder<boolean> {
    return sql`(user_id = ${userId} or (user_id is null and not exists (select 1 from ${users} where ${column('id')} = ${userId})))`
  }

  async function updateUser (db: Kysely<any>, userId: UserId, set: RawBuilder<unknown>): Promise<boolean> {
    const { rows } = await sql`update ${users} set ${set} where ${column('id')} = ${userId} returning 1`.execute(db).catch(refuseChange)
    return rows.length > 0
  }

  // Waits for rows that a transaction under way holds; those that it ended are then found by their new time. Rows of a user
  // who is being deleted lose their user_id in between.
  async function datedAgain (condition: RawBuilder<unknown>, options?: CallOptions): Promise<OwnedRow[]> {
    const { rows } = await run((db) => sql<JsonRow>`with held as (
        select * from ${tokens} t where ${condition} order by id for no key update
      ), dated as (
        update ${tokens} t set stale_at = clock_timestamp() from held where t.id = held.id and held.revoked_at is not null and ${isDatedAgain(sql`held`)}
      ) select ${jsonRow({ userId: typed(sql`user_id`), digest: digestHex })} from held where revoked_at is not null`.execute(db), options)
    return parseRows<OwnedRow>(rows)
  }

  return {
    async token (digest, reason) {
      const row = await endOne(sql`digest = ${toBytes(digest)}`, reason, { bound: 'lookups', ends: { digest } })
      return { ...toRevoked(row), reason: row?.reason ?? null, sessionId: row?.id ?? null }
    },
    async session (userId, sessionId, reason) {
      return toRevoked(await endOne(sql`user_id = ${userId} and id = ${sessionId}`, reason, { ends: { userId } }))
    },
    endedOfDeletedUsers: () => read((db) => recentlyEnded(db, tables, sql`user_id is null`, since)),
    async endedTogether (digest) {
      const together = sql`(user_id, revoked_at) = (select user_id, revoked_at from ${tokens}
        where digest = ${toBytes(digest)} and revoke_reason = 'logout_all' and revoked_at > ${ago(REPEAT_MS)})`
      const rows = await datedAgain(together, { bound: 'lookups' })
      return rows[0] === undefined ? null : { userId: valueOf(rows[0].userId) as UserId, digests: rows.map(toDigest) }
    },
    async findEnded (subject, sinceMs) {
      const recent = sql`((revoked_at is null and expires_at > now()) or stale_at > ${ago(sinceMs + MARGIN_MS)})`
      return (await datedAgain(sql`${subjectCondition(subject)} and ${recent}`)).map(toDigest)
    },
    user: (userId, reason) => transaction((db) => endUser(db, userId, reason), { ends: { userId } }),
    setPassword: (userId, hash) => transaction(async (db) =>
      await updateUser(db, userId, sql`${column('passwordHash')} = ${hash}`)
        ? await endUser(db, userId, 'password_changed')
        : NOTHING, { ends: { userId } }),
    setActive: async (userId, active) => {
      if (tables.map.users.activeWhen !== null || tables.map.users.columns.active === null) {
        throw new UNSUPPORTED('setActive needs users.columns.active; with users.activeWhen, change the row yourself and call revokeUser')
      }
      return await transaction(async (db) => {
        const found = await updateUser(db, userId, sql`${column('active')} = ${active}`)
        if (!found || active) return { ...NOTHING, found, userId }
        return await endUser(db, userId, 'deactivated')
      }, { ends: { userId } })
    },
    // The row is locked first: a login in between would leave a token without a tombstone.
    deleteUser: (userId) => transaction(async (db) => {
      await sql`select 1 from ${users} where ${column('id')} = ${userId} for update`.execute(db)
      const ended = await endUser(db, userId, 'user_deleted')
      const { rows: [deleted] } = await sql`delete from ${users} where ${column('id')} = ${userId} returning 1`.execute(db).catch(refuseChange)
      return { ...ended, found: deleted !== undefined }
    }, { ends: { userId } }),
    async refresh (userId) {
      const { rows } = await run((db) => sql<JsonRow>`update ${tokens} set stale_at = clock_timestamp()
        where id = any(array(select id from ${tokens} where user_id = ${userId} and expires_at > now()
          and (revoked_at is null or stale_at > ${since}) order by id for no key update))
        returning ${jsonRow({ digest: digestHex })}`.execute(db))
      return parseRows<DigestRow>(rows).map(toDigest)
    }
  }
}

/** A revocation that took long to commit, or that is repeated, gets a new `stale_at`, so that a catch-up still finds it. */
function isDatedAgain (row: RawBuilder<unknown>): RawBuilder<boolean> {
  return sql<boolean>`${row}.stale_at < clock_timestamp() - ${sql.lit(DATE_AGAIN_MS)} * interval '1 millisecond'`
}

function subjectCondition (subject: RevocationSubject): RawBuilder<unknown> {
  return 'digest' in subject ? sql`digest = ${toBytes(subject.digest)}` : sql`(user_id = ${subject.userId} or user_id is null)`
}

function toRevoked (row: EndedRow | undefined): Revoked {
  if (row === undefined) return NOTHING
  return { found: true, userId: valueOf(row.userId) as UserId | null, count: row.ended ? 1 : 0, digests: row.recent ? [toDigest(row)] : [] }
}

/**
 * Revokes the tokens whose ids are selected. Locks all rows before it reads the clock once: a long wait for a lock
 * must not make the revocation seem older than its commit, and tokens that ended together have the same time.
 */
export async function revokeSelected (db: Kysely<any>, { tokens }: Tables, ids: RawBuilder<unknown>, reason: RevokeReason): Promise<RevokedRow[]> {
  const { rows } = await sql<JsonRow>`with held as materialized (select array(${ids} for no key update) as ids),
    instant as materialized (select clock_timestamp() as at, ids from held)
    update ${tokens} set revoked_at = instant.at, stale_at = instant.at, revoke_reason = ${reason}
    from instant where id = any(instant.ids) returning ${jsonRow({ id: sql`id`, digest: digestHex })}`.execute(db)
  return parseRows<RevokedRow>(rows)
}

/** Revokes a user's live tokens. */
export async function revokeAll (db: Kysely<any>, tables: Tables, userId: UserId, reason: RevokeReason): Promise<RevokedRow[]> {
  return await revokeSelected(db, tables, sql`select id from ${tables.tokens}
    where user_id = ${userId} and revoked_at is null and expires_at > now() order by id`, reason)
}

/** Digests of tokens that any call has ended recently enough for a cache to still contradict it. */
export async function recentlyEnded (db: Kysely<any>, { tokens }: Tables, condition: RawBuilder<unknown>, since: RawBuilder<unknown>): Promise<Digest[]> {
  const { rows } = await sql<JsonRow>`select ${jsonRow({ digest: digestHex })} from ${tokens}
    where ${condition} and revoked_at is not null and stale_at > ${since}`.execute(db)
  return parseRows<DigestRow>(rows).map(toDigest)
}
