import type { AuthenticatedUser, Session, UserId } from './user.js'
import type { Duration } from './options.js'

export interface IssueTokenOptions {
  ttl?: Duration
  /** A name for the session list: `'CI deploy key'`. */
  label?: string
  /** What the token may do; absent or `null`: everything its user may. `undefined` is refused. */
  scopes?: readonly string[] | null
  ip?: string
  userAgent?: string
}

/** A new token. It is returned only here: only its digest is stored. */
export interface TokenGrant {
  token: string
  sessionId: string
  expiresAt: Date
  user: AuthenticatedUser
}

export interface RevokeProgress {
  /** Sessions ended so far. */
  revoked: number
}

export interface PruneProgress {
  deleted: number
  done: boolean
}

export interface Health {
  database: 'up' | 'down'
  /** `catching-up`: connected, but not read until the recent revocations are written to it again. */
  cache: 'up' | 'down' | 'catching-up' | 'in-process'
}

/**
 * `fastify.tokenAuth`. Functions that revoke tokens resolve when no server accepts the tokens any more
 * (with `cache.near`: for longer than `cache.near.ttl`).
 * If the cache does not confirm that, they reject with `FST_TOKEN_AUTH_REVOCATION_PENDING`
 * (the revocation is stored; call again). All reject with `FST_TOKEN_AUTH_INVALID_OPTION` if an argument has a wrong type or an unknown option.
 */
export interface TokenAuth {
  /** @throws `FST_TOKEN_AUTH_USERNAME_TAKEN`, `FST_TOKEN_AUTH_PASSWORD_*` */
  createUser (user: { username: string, password: string | null, fields?: Record<string, unknown> }): Promise<AuthenticatedUser>
  /** The user with this name, active or not; `null` if there is none, or more than one. It is not limited: do not answer a client's guesses with it. */
  findUser (username: string): Promise<AuthenticatedUser | null>
  /** Sets a password without the current one, and ends every session. @throws `FST_TOKEN_AUTH_USER_NOT_FOUND`, `FST_TOKEN_AUTH_PASSWORD_*` */
  setPassword (userId: UserId, password: string): Promise<void>
  /** Deactivates (and ends every session) or activates. @throws `FST_TOKEN_AUTH_UNSUPPORTED` without an `active` column. */
  setActive (userId: UserId, active: boolean): Promise<void>
  /** Deletes the user and ends every session; `false` if there is no such user. */
  deleteUser (userId: UserId): Promise<boolean>
  /** Issues a token without a login. @throws `FST_TOKEN_AUTH_USER_NOT_FOUND` if the user does not exist or is inactive. */
  issueToken (userId: UserId, options?: IssueTokenOptions): Promise<TokenGrant>
  /** Ends one token, such as one found in a public repository; `false` if it is not a token of this server. */
  revokeToken (token: string): Promise<boolean>
  /** Ends one session of any user by its id, as `listSessions` shows it; `false` if there is no such session. */
  revokeSession (sessionId: string): Promise<boolean>
  /** Ends every session of a user; resolves to their number. */
  revokeUser (userId: UserId): Promise<number>
  /** Ends every session of every user, such as after a leak or the restore of a backup; resolves to their number. A session that begins during the call may go on. */
  revokeAll (options?: { onProgress?: (progress: RevokeProgress) => void }): Promise<number>
  listSessions (userId: UserId): Promise<Session[]>
  /** Call it after a change of a selected column: requests that start later see the change (with `cache.near`, on other servers, within its `ttl`). `false`: the cache has not acknowledged it yet; the server goes on by itself, and requests see the change within `cache.ttl`. */
  refreshUser (userId: UserId): Promise<boolean>
  /** Deletes rows that ended more than `token.retention` ago, in batches; resolves to their number. */
  pruneExpired (options?: { batchSize?: number, onProgress?: (progress: PruneProgress) => void }): Promise<number>
  health (): Promise<Health>
  /** Security schemes and tags to merge into `@fastify/swagger`'s `openapi` option. */
  openapi (): OpenApiParts
}

export interface OpenApiParts {
  tags: { name: string, description: string }[]
  components: { securitySchemes: Record<string, { type: 'http', scheme: string, description: string }> }
}
