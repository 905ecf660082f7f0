import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { CompiledQuery, sql } from 'kysely'
import type { RawBuilder } from 'kysely'
import type { FoundToken, TokenStore } from '../ports.js'
import type { RevokeReason } from '../../types/events.js'
import type { Session, UserId } from '../../types/user.js'
import { ago, digestHex, epochMs, nowMs, staleSince, toBytes, toDigest } from './codec.js'
import type { Sql } from './gateway.js'
import { noRows } from './refusals.js'
import { createStaleList } from './stale-list.js'
import type { Tables, UserRow } from './tables.js'
import { jsonRow, parseRows, typed, valueOf } from './values.js'
import type { JsonRow, TypedValue } from './values.js'

interface TokenRow {
  sid: string
  user: UserRow
  iat: number
  exp: number
  idle: number | null
  now: number
  scopes: string[] | null
}

type SessionRow = Omit<Session, 'createdAt' | 'lastUsedAt' | 'expiresAt'> & { createdAt: number, lastUsedAt: number, expiresAt: number }

const KNOWN_MS = 30 * 86_400_000
/** Revocation reasons that do not count against the session's address; the others are used against intruders. */
const HARMLESS: RevokeReason[] = ['logout', 'logout_all', 'too_many']

export function createTokenStore ({ read, run, db }: Sql, tables: Tables, { idleTtlMs, cacheTtlMs }: { idleTtlMs: number | null, cacheTtlMs: number }): TokenStore {
  const { tokens } = tables
  const since = staleSince(tables, cacheTtlMs)
  const isLive = sql`t.revoked_at is null and t.expires_at > now()${idleTtlMs === null ? sql`` : sql` and ${idleAt(idleTtlMs)} > now()`}`
  const found = jsonRow({
    sid: sql`t.id`,
    scopes: sql`t.scopes`,
    user: tables.viewUser,
    iat: epochMs(sql`t.created_at`),
    exp: epochMs(sql`t.expires_at`),
    idle: idleTtlMs === null ? sql`null::int8` : epochMs(idleAt(idleTtlMs)),
    now: nowMs
  })
  const findText = named(sql`select ${found}
    from ${tokens} t join ${tables.usersView} u on u.id = t.user_id
    where t.digest = ${null} and ${isLive} and u.is_active`.compile(db).sql)

  return {
    async find (digest) {
      const { rows } = await read((db) => db.executeQuery<JsonRow>(CompiledQuery.raw(findText, [toBytes(digest)])), { bound: 'lookups' })
      const [row] = parseRows<TokenRow>(rows)
      return row === undefined ? null : toFound(row, tables)
    },
    async list (userId) {
      const { rows } = await read((db) => sql<JsonRow>`select ${SESSION}
        from ${tokens} t where user_id = ${userId} and ${isLive} order by last_used_at desc, id`.execute(db))
      return parseRows<SessionRow>(rows).map(toSession)
    },
    async digestOf (sessionId) {
      const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ digest: digestHex })} from ${tokens} where id = ${sessionId}`.execute(db))
      return parseRows<{ digest: string }>(rows).map(toDigest)[0] ?? null
    },
    async listOwners (after, limit) {
      const { rows } = await read((db) => sql<JsonRow>`select ${jsonRow({ userId: typed(sql`user_id`) })} from (select distinct user_id from ${tokens}
        where ${after === null ? sql`user_id is not null` : sql`user_id > ${after}`} and expires_at > now() and (revoked_at is null or stale_at > ${since})
        order by user_id limit ${sql.lit(limit)}) owners`.execute(db))
      return parseRows<{ userId: TypedValue }>(rows).map(({ userId }) => valueOf(userId) as UserId)
    },
    listStale: createStaleList({ read }, tables, cacheTtlMs),
    // SKIP LOCKED: a row that is being revoked or touched by another process needs no touch, and nothing waits.
    async touch (sessionIds, agesMs) {
      await run((db) => sql`update ${tokens} t set last_used_at = greatest(t.last_used_at, now() - used.age * interval '1 millisecond')
        from (select id from ${tokens} where id = any(${sessionIds}::uuid[]) and revoked_at is null for no key update skip locked) free
        join unnest(${sessionIds}::uuid[], ${agesMs}::float8[]) used(id, age) using (id)
        where t.id = free.id`.execute(db))
    },
    // One statement, whether the name exists or not, and one range of the index, however many sessions a user has: otherwise the time would
    // reveal names. Addresses are in the order of their family, then of their bits.
    async isKnownAddress (username, ip) {
      const network = networkOf(ip)
      if (network === null) return false
      const { rows } = await read((db) => sql<{ isKnown: string }>`select (exists (
        select 1 from ${tokens} t join ${tables.usersView} u on u.id = t.user_id
        where u.username = ${username} and t.ip between network(${network}::inet) and pg_catalog.host(broadcast(${network}::inet))::inet and t.created_at > ${ago(KNOWN_MS)}
        and (t.revoked_at is null or t.revoke_reason = any(${HARMLESS}::text[]))))::text as "isKnown"`.execute(db).catch(noRows), { bound: 'logins' })
      return rows[0]?.isKnown === 'true'
    },
    async prune (retentionMs, limit) {
      const over = ago(retentionMs)
      const idleOver = idleTtlMs === null ? sql`` : sql` or ${idleAt(idleTtlMs)} < ${over}`
      const { numAffectedRows } = await run((db) => sql`delete from ${tokens} where id in (
        select id from ${tokens} t where (t.expires_at < ${over} or t.revoked_at < ${over}${idleOver})
        and (t.stale_at is null or t.stale_at <= ${since} or t.expires_at < now())
        limit ${sql.lit(limit)} for update skip locked)`.execute(db))
      return Number(numAffectedRows)
    }
  }
}

function toFound (row: TokenRow, tables: Tables): FoundToken {
  return {
    record: {
      sessionId: row.sid,
      user: tables.toUser(row.user),
      issuedAtMs: row.iat,
      expiresAtMs: row.exp,
      idleAtMs: row.idle,
      scopes: row.scopes
    },
    asOfMs: row.now
  }
}

const SESSION = jsonRow({
  id: sql`id`,
  createdAt: epochMs(sql`created_at`),
  lastUsedAt: epochMs(sql`last_used_at`),
  expiresAt: epochMs(sql`expires_at`),
  ip: sql`pg_catalog.host(ip)`,
  userAgent: sql`user_agent`,
  label: sql`label`,
  scopes: sql`scopes`
})

function toSession ({ createdAt, lastUsedAt, expiresAt, ...row }: SessionRow): Session {
  return { ...row, createdAt: new Date(createdAt), lastUsedAt: new Date(lastUsedAt), expiresAt: new Date(expiresAt) }
}

function networkOf (ip: string): string | null {
  if (ip.includes('%') || isIP(ip) === 0) return null
  return isIP(ip) === 4 ? `${ip}/32` : `${ip}/64`
}

function idleAt (idleTtlMs: number): RawBuilder<Date> {
  return sql`t.last_used_at + ${sql.lit(idleTtlMs)} * interval '1 millisecond'`
}

// The name is a hash of the statement, so that two registrations with different tables on one pool do not collide.
function named (text: string): string {
  return `/*fta_${createHash('sha256').update(text).digest('hex').slice(0, 16)}*/ ${text}`
}
