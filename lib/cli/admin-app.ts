import type fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Kysely } from 'kysely'
import { USER_NOT_FOUND } from '../errors.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { TokenAuth } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import { readDatabaseUrl, readRedisUrl } from './environment.js'
import { print } from './io.js'
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
  'cache-namespace': { type: 'string', value: '<prefix>', about: 'the servers\' option cache.namespace (default fta:)' }
} as const

export interface AdminApp {
  tokenAuth: TokenAuth
  /** @throws `FST_TOKEN_AUTH_USER_NOT_FOUND` */
  findUserId (username: string): Promise<UserId>
}

type Values = Place & Mapping & { 'cache-namespace'?: string }

/** A command does not compete with other requests, so it need not fail on a slow machine. */
const LONG_TIMEOUTS = { hashing: { maxWait: '60s' }, lookup: { maxWait: '60s', timeout: '10s' } }

const NO_REDIS = 'REDIS_URL is not set: running servers may accept the ended sessions until their cache.ttl is over, 5 minutes by default'

/** Runs the work with the plugin on a Fastify instance that does not listen. Its only cache is the process's own. */
export async function withAdmin<Result> (io: Io, values: Values, work: (app: AdminApp) => Promise<Result>, options: Partial<AuthPluginOptions> = {}): Promise<Result> {
  const mapped = toOptions(values)
  const findUserId = await createFinder(values)
  return await withDatabase(io.env, values, async ({ db }) => {
    const app = await createApp({ ...LONG_TIMEOUTS, ...mapped, database: db, rateLimit: false, ...options, token: { ...mapped.token, ...options.token } })
    return await work({ tokenAuth: app.tokenAuth, findUserId: (username) => findUserId(db, username) }).finally(() => app.close())
  })
}

/** Like `withAdmin`, for work that ends sessions: running servers learn of it through Redis. An embedded database has no other servers. */
export async function withAdminAndRedis<Result> (io: Io, values: Values, work: (app: AdminApp) => Promise<Result>): Promise<Result> {
  const url = readRedisUrl(io.env)
  const namespace = values['cache-namespace']
  const cache = namespace === undefined ? {} : { cache: { namespace } }
  const result = await withAdmin(io, values, work, url === null ? {} : { redis: { url }, ...cache })
  if (url === null && readDatabaseUrl(io.env) !== null) print(io.stderr, NO_REDIS)
  return result
}

async function createFinder (values: Mapping): Promise<(db: Kysely<any>, username: string) => Promise<UserId>> {
  const map = toTableMap(values)
  const { createSql } = await import('../sql/gateway.js')
  const { createTables } = await import('../sql/tables.js')
  const { createUserStore } = await import('../sql/users.js')
  return async (db, username) => {
    const user = await createUserStore(createSql(db), createTables(map)).findByUsername(username)
    if (user === null) throw new USER_NOT_FOUND()
    return user.id
  }
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
