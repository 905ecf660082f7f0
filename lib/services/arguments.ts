import { callable, duration, entry, integer, isObject, list, nullable, readTable, refuse, scope } from '../options/rules.js'
import type { Rule, Table } from '../options/rules.js'
import type { IssueTokenOptions, PruneProgress, RevokeProgress } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'

/** A text, which may be a secret, so it is not shown. */
export const string: Rule<string> = (value, path) => typeof value === 'string' ? value : refuse(path, 'a string', value, value === null ? 'null' : typeof value)

/** Any other value would be compared as the text that the driver makes of it. */
export const userId: Rule<UserId> = (value, path) => ['string', 'number', 'bigint'].includes(typeof value) ? value as UserId : refuse(path, 'a string or a number', value)

interface NewUser { username: string, password: string | null, fields: Record<string, unknown> }

const object: Rule<Record<string, unknown>> = (value, path) => isObject(value) ? value : refuse(path, 'an object', value)

const NEW_USER: Table<NewUser> = { username: entry(undefined, string), password: entry(undefined, nullable(string)), fields: entry({}, object) }

type NewToken = Record<'label' | 'ip' | 'userAgent', string | null> & { ttl: number | null, scopes: readonly string[] | null }

const NEW_TOKEN: Table<NewToken> = {
  ttl: entry(null, nullable(duration({ min: 1000 }))),
  label: entry(null, nullable(string)),
  scopes: entry(null, nullable(list(scope, { min: 0 }))),
  ip: entry(null, nullable(string)),
  userAgent: entry(null, nullable(string))
}

const PRUNE: Table<{ batchSize: number, onProgress: (progress: PruneProgress) => void }> = {
  batchSize: entry(1000, integer({ min: 1, max: 1_000_000 })),
  onProgress: entry(() => {}, callable())
}

const REVOKE_ALL: Table<{ onProgress: (progress: RevokeProgress) => void }> = { onProgress: entry(() => {}, callable()) }

const placeOf = (name: string) => ({ prefix: `${name}: `, owner: `${name}()` })

export const readNewUser = (user: object): NewUser => readTable(NEW_USER, user, placeOf('createUser'))
export const readPrune = (options: object) => readTable(PRUNE, options, placeOf('pruneExpired'))
export const readRevokeAll = (options: object) => readTable(REVOKE_ALL, options, placeOf('revokeAll'))

/** A token without scopes may do everything: scopes from an unset variable must not make one. */
export function readNewToken (options: IssueTokenOptions): NewToken {
  const token = readTable(NEW_TOKEN, options, placeOf('issueToken'))
  if (Object.hasOwn(options, 'scopes') && options.scopes === undefined) refuse('issueToken: scopes', 'an array, or null for a token that may do everything', undefined)
  return token
}
