import type { TokenRecord } from '../ports.js'
import type { Digest } from '../../types/cache.js'
import type { Seal } from '../crypto/seal.js'

/** The final value of a revoked token. */
export const TOMBSTONE = 'R'

/** Increased when the shape changes: an entry of another version counts as a miss. */
const VERSION = 4

/** Without names, because Redis holds one for every session. What is `null` or empty at the end is left out. */
type Entry = [
  version: number,
  sessionId: string,
  userId: string | number,
  username: string,
  issuedAtMs: number,
  expiresAtMs: number,
  endsAtMs: number,
  idleAtMs?: number | null,
  scopes?: string[] | null,
  otherColumns?: Record<string, unknown> | null
]

/** A record in a cache. */
export interface CachedRecord {
  record: TokenRecord
  /** When it may not be used any more, by the database's clock. Redis has a clock of its own, and a Redis that comes back may have another one. */
  endsAtMs: number
}

/** `null` while the seal is not available. */
export function encodeRecord (seal: Seal, digest: Digest, { record, endsAtMs }: CachedRecord): string | null {
  const { sessionId, user: { id, username, ...others }, issuedAtMs, expiresAtMs, idleAtMs, scopes } = record
  const otherColumns = Object.keys(others).length === 0 ? null : others
  const entry: unknown[] = [VERSION, sessionId, id, username, issuedAtMs, expiresAtMs, Math.floor(endsAtMs), idleAtMs, scopes, otherColumns]
  while (entry.at(-1) === null) entry.pop()
  const sealed = seal.close(JSON.stringify(entry), digest)
  return sealed === null ? null : `V${sealed}`
}

/** `null` unless it is a record of this version for this digest, written by a server: Redis may hold anything, and replies may be crossed. */
export function decodeRecord (seal: Seal, digest: Digest, value: string): CachedRecord | null {
  if (value[0] !== 'V') return null
  const text = seal.open(value.slice(1), digest)
  if (text === null) return null
  const entry = parse(text)
  if (!isEntry(entry)) return null
  const [, sessionId, id, username, issuedAtMs, expiresAtMs, endsAtMs, idleAtMs = null, scopes = null, otherColumns] = entry
  return { record: { sessionId, user: { id, username, ...otherColumns }, issuedAtMs, expiresAtMs, idleAtMs, scopes }, endsAtMs }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isEntry (value: unknown): value is Entry {
  if (!Array.isArray(value)) return false
  const [version, sessionId, userId, username, issuedAtMs, expiresAtMs, endsAtMs, idleAtMs = null, scopes = null, otherColumns = null, ...more] = value as unknown[]
  return version === VERSION && isString(sessionId) && isId(userId) && isString(username) &&
    Number.isFinite(issuedAtMs) && Number.isFinite(expiresAtMs) && Number.isFinite(endsAtMs) && (idleAtMs === null || Number.isFinite(idleAtMs)) &&
    (scopes === null || (Array.isArray(scopes) && scopes.every(isString))) &&
    (otherColumns === null || isColumns(otherColumns)) && more.length === 0
}

/** Neither another user nor another prototype. */
function isColumns (value: unknown): boolean {
  return isObject(value) && !['id', 'username', '__proto__'].some((name) => Object.hasOwn(value, name))
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
