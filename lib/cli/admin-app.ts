import type fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { COMMAND_FAILED, USER_NOT_FOUND } from '../errors.js'
import { COMMAND } from '../options/read.js'
import { OPTIONS } from '../options/table.js'
import type { CacheKeys } from '../sql/caches.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { TokenAuth } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import { readDatabaseUrl, readRedisUrl } from './environment.js'
import type { Io } from './io.js'
import { DATA_FLAG, withDatabase } from './open-database.js'
import type { Place } from './open-database.js'
import { importPeer } from './packages.js'
import { MAPPING_FLAGS, toOptions, toTableMap } from './table-flags.js'
import type { Mapping } from './table-flags.js'

/** The flags of commands that work on users and tokens. */
export const ADMIN_FLAGS = { ...DATA_FLAG, ...MAPPING_FLAGS }

/** The flags of commands that end sessions. */
export const REVOKING_FLAGS = {
  ...ADMIN_FLAGS,
  'cache-namespace': { type: 'string', value: '<prefix>', about: 'the option cache.namespace of servers that do not run; of running ones it is known' }
} as const

export interface AdminApp {
  tokenAuth: TokenAuth
  /** @throws `FST_TOKEN_AUTH_USER_NOT_FOUND` */
  findUserId (username: string): Promise<UserId>
}

type Values = Place & Mapping & { 'cache-namespace'?: string }

const MISSING_TABLE = '42P01'
const DEFAULT_NAMESPACE = OPTIONS['cache.namespace'].fallback as string

/** A command does not compete with other requests, so it need not fail on a slow machine. */
const LONG_TIMEOUTS = { hashing: { maxWait: '60s' }, lookup: { maxWait: '60s', timeout: '10s' } }

/** Runs the work with the plugin on a Fastify instance that does not listen. Its only cache is the process's own. */
export async function withAdmin<Result> (io: Io, values: Values, work: (app: AdminApp) => Promise<Result>, options: Partial<AuthPluginOptions> = {}): Promise<Result> {
  const mapped = toOptions(values)
  // Named by its flag here; the plugin would name the option.
  toTableMap(values)
  return await withDatabase(io.env, values, async ({ db }) => {
    const app = await createApp({ ...LONG_TIMEOUTS, ...mapped, database: db, rateLimit: false, ...options, token: { ...mapped.token, ...options.token }, [COMMAND]: true } as AuthPluginOptions)
    return await work({ tokenAuth: app.tokenAuth, findUserId: (username) => findUserId(app.tokenAuth, username) }).finally(() => app.close())
  })
}

/**
 * Like `withAdmin`, for work that ends sessions: it is done over the cache of every running server, which the database knows. `again` repeats
 * it for all caches but the first. An embedded database has no other servers.
 * @throws `FST_TOKEN_AUTH_COMMAND_FAILED` if a running server was not notified
 */
export async function withEveryCache<Result> (io: Io, values: Values, work: (app: AdminApp) => Promise<Result>, again: (app: AdminApp) => Promise<unknown>): Promise<Result> {
  const url = readRedisUrl(io.env)
  const running = readDatabaseUrl(io.env) === null ? [] : await listCaches(io, values)
  const targets = url === null ? [] : withGiven(running.filter((keys) => keys !== null), values['cache-namespace'])
  const [first = {}, ...others] = targets.map(({ keyPrefix, namespace, db }) => ({ redis: { url: inDatabase(url!, db), keyPrefix }, cache: { namespace } }))
  const result = await withAdmin(io, values, work, first)
  for (const options of others) await withAdmin(io, values, again, options)
  refuseMissed(running, url)
  return result
}

// Without a running server nobody has to learn of it, but one may be about to start.
function withGiven (running: CacheKeys[], namespace: string | undefined): Target[] {
  const given = namespace === undefined || running.some((keys) => keys.namespace === namespace) ? [] : [{ keyPrefix: '', namespace, db: null }]
  const all = [...running, ...given]
  return all.length > 0 ? all : [{ keyPrefix: '', namespace: DEFAULT_NAMESPACE, db: null }]
}

/** `null`: the database of REDIS_URL. */
type Target = Omit<CacheKeys, 'db'> & { db: number | null }

function inDatabase (url: string, db: number | null): string {
  if (db === null) return url
  const place = new URL(url)
  place.pathname = `/${db}`
  return place.href
}

function refuseMissed (running: (CacheKeys | null)[], url: string | null): void {
  const DONE = 'The sessions are ended in the database'
  const UNTIL = 'may accept them until their cache.ttl is over, 5 minutes by default'
  if (url === null && running.some((keys) => keys !== null)) throw new COMMAND_FAILED(`${DONE}, but REDIS_URL is not set: running servers ${UNTIL}. Set it and repeat the command`)
  if (running.includes(null)) throw new COMMAND_FAILED(`${DONE}, but servers that cache tokens in their own process cannot be notified: they ${UNTIL}`)
}

async function listCaches (io: Io, values: Values): Promise<(CacheKeys | null)[]> {
  const { createTables } = await import('../sql/tables.js')
  const { listRunningCaches } = await import('../sql/caches.js')
  const { codeOf } = await import('../sql/errors.js')
  // Tables that are missing are reported by the work itself.
  const none = (error: unknown) => {
    if (codeOf(error) === MISSING_TABLE) return []
    throw error
  }
  return await withDatabase(io.env, values, async ({ db }) => await listRunningCaches(db, createTables(toTableMap(values))).catch(none))
}

async function findUserId (tokenAuth: TokenAuth, username: string): Promise<UserId> {
  const user = await tokenAuth.findUser(username)
  if (user === null) throw new USER_NOT_FOUND()
  return user.id
}

async function createApp (options: AuthPluginOptions): Promise<FastifyInstance> {
  const { default: Fastify } = await importPeer<{ default: typeof fastify }>('fastify')
  const { authPlugin } = await import('../plugin.js')
  const app = Fastify()
  try {
    await app.register(authPlugin, options)
    return app
  } catch (error) {
    await app.close().catch(() => {})
    throw error
  }
}
