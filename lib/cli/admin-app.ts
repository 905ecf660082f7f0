import type fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { USER_NOT_FOUND } from '../errors.js'
import { COMMAND } from '../options/read.js'
import type { AuthPluginOptions } from '../../types/options.js'
import type { TokenAuth } from '../../types/token-auth.js'
import type { UserId } from '../../types/user.js'
import type { Io } from './io.js'
import { DATA_FLAG, withDatabase } from './open-database.js'
import type { Place } from './open-database.js'
import { importPeer } from './packages.js'
import { MAPPING_FLAGS, toOptions, toTableMap } from './table-flags.js'
import type { Mapping } from './table-flags.js'

/** The flags of commands that work on users and tokens. */
export const ADMIN_FLAGS = { ...DATA_FLAG, ...MAPPING_FLAGS }

export interface AdminApp {
  tokenAuth: TokenAuth
  /** @throws `FST_TOKEN_AUTH_USER_NOT_FOUND` */
  findUserId (username: string): Promise<UserId>
}

type Values = Place & Mapping

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
