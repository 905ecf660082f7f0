import type fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { USER_NOT_FOUND } from '../errors.js'
import { authPlugin } from '../plugin.js'
import { createSql } from '../sql/gateway.js'
import { createTables } from '../sql/tables.js'
import { createUserStore } from '../sql/users.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { TokenAuth } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import { readDatabaseUrl, readRedisUrl } from './environment.js'
import { print } from './io.js'
import type { Io } from './io.js'
import { MAPPING_FLAGS, toOptions, toTableMap } from './table-flags.js'
import type { Mapping } from './table-flags.js'
import { DATA_FLAG, withDatabase } from './open-database.js'
import type { Place } from './open-database.js'
import { importPeer } from './peers.js'

/** The flags of commands that work on users and tokens. */
export const TOOL_FLAGS = { ...DATA_FLAG, ...MAPPING_FLAGS }

/** The same, of those that end sessions. */
export const ENDING_FLAGS = {
  ...TOOL_FLAGS,
  'cache-namespace': { type: 'string', value: '<prefix>', about: 'the servers\' option cache.namespace (default fta:)' }
} as const

export interface Tool {
  tokenAuth: TokenAuth
  /** @throws `FST_TOKEN_AUTH_USER_NOT_FOUND` */
  findUserId (username: string): Promise<UserId>
}

type Values = Place & Mapping & { 'cache-namespace'?: string }

/** Nobody else waits behind a command, so that a slow machine is no reason for it to fail. */
const PATIENT = { hashing: { maxWait: '60s' }, lookup: { maxWait: '60s', timeout: '10s' } }

/** Runs the work with the plugin on a server that does not listen, and no cache but the process's own. */
export async function withTokenAuth<Result> (io: Io, values: Values, work: (tool: Tool) => Promise<Result>, options: Partial<AuthPluginOptions> = {}): Promise<Result> {
  const map = toTableMap(values)
  const mapped = toOptions(values)
  return await withDatabase(io.env, values, async ({ db }) => {
    const app = await createApp({ ...PATIENT, ...mapped, database: db, rateLimit: false, ...options, token: { ...mapped.token, ...options.token } })
    const findUserId = async (username: string) => {
      const user = await createUserStore(createSql(db), createTables(map)).findByUsername(username)
      if (user === null) throw new USER_NOT_FOUND()
      return user.id
    }
    return await work({ tokenAuth: app.tokenAuth, findUserId }).finally(() => app.close())
  })
}

/** The same for work that ends sessions. Servers hear of that through Redis; there are none over an embedded database. */
export async function withServersTold<Result> (io: Io, values: Values, work: (tool: Tool) => Promise<Result>): Promise<Result> {
  const url = readRedisUrl(io.env)
  const namespace = values['cache-namespace']
  const cache = namespace === undefined ? {} : { cache: { namespace } }
  const result = await withTokenAuth(io, values, work, url === null ? {} : { redis: { url }, ...cache })
  if (url === null && readDatabaseUrl(io.env) !== null) print(io.stderr, 'REDIS_URL is not set: a server that is running may accept the ended sessions until its cache.ttl is over, 5 minutes by default')
  return result
}

async function createApp (options: AuthPluginOptions): Promise<FastifyInstance> {
  const { default: Fastify } = await importPeer<{ default: typeof fastify }>('fastify')
  const app = Fastify()
  try {
    await app.register(authPlugin, options)
    return app
  } catch (error) {
    await app.close().catch(() => {})
    throw error
  }
}
