import type { TokenRecord } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { Seal } from '../crypto/seal.js'

/** The final value of a revoked token. */
export const TOMBSTONE = 'R'

/** Increased when the shape changes: an entry of another version counts as a miss. */
const VERSION = 3

interface Entry {
  v: number
  /** The digest of the record's token, so that a crossed reply cannot be taken for another token. */
  h: string
  sid: string
  uid: string | number
  user: TokenRecord['user']
  iat: number
  exp: number
  idle: number | null
  scopes: string[] | null
  end: number
}

/** A record in a cache. */
export interface CachedRecord {
  record: TokenRecord
  /** When it may not be used any more, by the database's clock. Redis has a clock of its own, and a Redis that comes back may have another one. */
  endsAtMs: number
}

/** `null` while the seal is not available. */
export function encodeRecord (seal: Seal, digest: Digest, { record, endsAtMs }: CachedRecord): string | null {
  const entry: Entry = {
    v: VERSION,
    h: digest,
    sid: record.sessionId,
    uid: record.user.id as string | number,
    user: record.user,
    iat: record.issuedAtMs,
    exp: record.expiresAtMs,
    idle: record.idleAtMs,
    scopes: record.scopes as string[] | null,
    end: endsAtMs
  }
  const sealed = seal.close(JSON.stringify(entry))
  return sealed === null ? null : `V${sealed}`
}

/** `null` unless it is a record of this version for this digest, written by a server: Redis may hold anything. */
export function decodeRecord (seal: Seal, digest: Digest, value: string): CachedRecord | null {
  if (value[0] !== 'V') return null
  const text = seal.open(value.slice(1))
  if (text === null) return null
  const entry = parse(text)
  if (!isEntry(entry) || entry.h !== digest) return null
  return {
    record: {
      sessionId: entry.sid,
      user: entry.user,
      issuedAtMs: entry.iat,
      expiresAtMs: entry.exp,
      idleAtMs: entry.idle,
      scopes: entry.scopes
    },
    endsAtMs: entry.end
  }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isEntry (value: unknown): value is Entry {
  if (!isObject(value)) return false
  const { v, h, sid, uid, user, iat, exp, idle, scopes, end } = value
  return v === VERSION && typeof h === 'string' && typeof sid === 'string' && isId(uid) &&
    Number.isFinite(iat) && Number.isFinite(exp) && Number.isFinite(end) && (idle === null || Number.isFinite(idle)) &&
    (scopes === null || (Array.isArray(scopes) && scopes.every(isString))) &&
    isObject(user) && user['id'] === uid && isString(user['username']) && !Object.hasOwn(user, '__proto__')
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isString (value: unknown): value is string {
  return typeof value === 'string'
}

function isId (value: unknown): value is string | number {
  return isString(value) || Number.isSafeInteger(value)
}
