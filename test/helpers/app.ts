import swagger from '@fastify/swagger'
import bcryptjs from 'bcryptjs'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions, LightMyRequestResponse } from 'fastify'
import type { Test } from 'tap'
import { withDeadline } from '../../lib/tools/deadline.js'
import { authPlugin } from '../../lib/index.js'
import type { AuthPluginOptions, Hasher } from '../../lib/index.js'
import { lastingKeys } from './leftovers.js'
import { checkPublished } from './published.js'
import { redisUrl, uniqueNamespace } from './services.js'

export const PASSWORD = 'correct horse battery'

/** The cheapest bcrypt, in this thread, because starting threads for every test file would take longer than the hashes. */
export const fastHasher: Hasher = {
  hash: (password) => bcryptjs.hash(password, 4),
  verify: (password, hash) => bcryptjs.compare(password, hash),
  needsRehash: () => false,
  understands: (hash) => /^\$2b\$04\$[./A-Za-z0-9]{53}$/.test(hash)
}

export interface CountingHasher extends Hasher {
  /** The calls since it was last emptied, such as `hash 4` and `verify 4`. The number is the cost. */
  asked: string[]
}

/** The same, with a list of its calls. */
export function countingHasher (): CountingHasher {
  const asked: string[] = []
  return {
    ...fastHasher,
    asked,
    hash (password) {
      asked.push('hash 4')
      return fastHasher.hash(password)
    },
    verify (password, hash) {
      asked.push(`verify ${Number(hash.slice(4, 6))}`)
      return fastHasher.verify(password, hash)
    }
  }
}

export interface AppOptions {
  server?: FastifyServerOptions
  /** Called between the plugin's registration and ready(). */
  routes?: (app: FastifyInstance) => void | Promise<void>
}

/** Options for a test: real Redis under its own keys, a cheap hash, no login limit. */
export function testOptions (databaseUrl: string, options: Partial<AuthPluginOptions> = {}): AuthPluginOptions {
  return {
    // Long time limits, so that a machine that is busy with other tests does not look like a database or a Redis that hangs.
    database: { connectionString: databaseUrl, connectionTimeoutMillis: 30_000, statement_timeout: 20_000, lock_timeout: 20_000 },
    redis: { url: redisUrl(), commandTimeout: 5000 },
    autoMigrate: true,
    hasher: fastHasher,
    rateLimit: false,
    // For the same reason, requests may wait long for a place and for an answer.
    hashing: { maxWait: '60s' },
    lookup: { maxWait: '30s', timeout: '30s' },
    ...options,
    cache: { namespace: uniqueNamespace(), ...options.cache }
  }
}

const CLOSE_MS = 120_000

// A Redis that the test itself started may have ended already. Throws, because assertions in a teardown have no effect.
async function closeCleanly (app: FastifyInstance, { redis, cache }: AuthPluginOptions): Promise<void> {
  await withDeadline(app.close(), { timeoutMs: CLOSE_MS, expired: () => new Error(`close() did not resolve within ${CLOSE_MS} ms`) })
  const { url, db = 0 } = (redis ?? {}) as { url?: unknown, db?: unknown }
  if (cache?.namespace === undefined || url !== redisUrl() || db !== 0) return
  const lasting = await lastingKeys(cache.namespace)
  if (lasting.length > 0) throw new Error(`keys without an end: ${lasting.join(', ')}`)
}

/** A server with the plugin and a protected route GET /protected. It is closed when the test ends, and then every key of its namespace must have an expiry. */
export async function createApp (t: Test, options: AuthPluginOptions, { server = {}, routes }: AppOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(server)
  t.teardown(() => closeCleanly(app, options))
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } })
  await app.register(authPlugin, options)
  app.get('/protected', { onRequest: app.authenticate }, async ({ user, auth }) => ({ user, auth }))
  await routes?.(app)
  await app.ready()
  return app
}

export type Call = (method: 'GET' | 'POST' | 'DELETE' | 'HEAD', url: string, more?: { token?: string, body?: unknown, headers?: Record<string, string> }) => Promise<LightMyRequestResponse>

/** A short form for requests: `await call('GET', '/auth/me', { token })`. Every reply must match the OpenAPI document. */
export function caller (app: FastifyInstance): Call {
  return async (method, url, { token, body, headers = {} } = {}) => {
    const reply = await app.inject({
      method,
      url,
      headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
      ...(body === undefined ? {} : { payload: body as object })
    })
    checkPublished(app, method, url, reply)
    return reply
  }
}

let users = 0

/** A new user with PASSWORD. */
export async function createUser (app: FastifyInstance, username = `user${users++}`): Promise<{ id: string | number, username: string }> {
  return await app.tokenAuth.createUser({ username, password: PASSWORD })
}

/** Logs in over HTTP, and resolves to the token. */
export async function login (app: FastifyInstance, username: string, password = PASSWORD): Promise<string> {
  const reply = await caller(app)('POST', '/auth/login', { body: { username, password } })
  if (reply.statusCode !== 200) throw new Error(`login failed: ${reply.statusCode} ${reply.body}`)
  return reply.json().token
}
