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

/** The cheapest bcrypt, in this thread: threads to start for every test file would cost more than the hashes. */
export const fastHasher: Hasher = {
  hash: (password) => bcryptjs.hash(password, 4),
  verify: (password, hash) => bcryptjs.compare(password, hash),
  needsRehash: () => false,
  understands: (hash) => /^\$2b\$04\$[./A-Za-z0-9]{53}$/.test(hash)
}

export interface CountingHasher extends Hasher {
  /** What it was asked since it was last emptied, such as `hash 4` and `verify 4`: the number is the cost. */
  asked: string[]
}

/** The same, with a list of what it was asked. */
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
    // A machine that is busy with other tests is no database and no Redis that hangs.
    database: { connectionString: databaseUrl, connectionTimeoutMillis: 30_000, statement_timeout: 20_000, lock_timeout: 20_000 },
    redis: { url: redisUrl(), commandTimeout: 5000 },
    autoMigrate: true,
    hasher: fastHasher,
    rateLimit: false,
    // Nor is it one that refuses for want of a place, or an answer that is late.
    hashing: { maxWait: '60s' },
    lookup: { maxWait: '30s', timeout: '30s' },
    ...options,
    cache: { namespace: uniqueNamespace(), ...options.cache }
  }
}

const CLOSE_MS = 120_000

// Of a Redis of the test's own, nothing may be left to ask. Throws, since an assertion in a teardown is none.
async function closeCleanly (app: FastifyInstance, { redis, cache }: AuthPluginOptions): Promise<void> {
  await withDeadline(app.close(), { timeoutMs: CLOSE_MS, expired: () => new Error(`close() did not resolve within ${CLOSE_MS} ms`) })
  const { url, db = 0 } = (redis ?? {}) as { url?: unknown, db?: unknown }
  if (cache?.namespace === undefined || url !== redisUrl() || db !== 0) return
  const lasting = await lastingKeys(cache.namespace)
  if (lasting.length > 0) throw new Error(`keys without an end: ${lasting.join(', ')}`)
}

/** A server with the plugin and a protected route GET /protected, closed when the test ends: then no key of its namespace may be there for ever. */
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

/** Short requests: `await call('GET', '/auth/me', { token })`. Every reply must be as the OpenAPI document says. */
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

/** Logs in over HTTP; the token. */
export async function login (app: FastifyInstance, username: string, password = PASSWORD): Promise<string> {
  const reply = await caller(app)('POST', '/auth/login', { body: { username, password } })
  if (reply.statusCode !== 200) throw new Error(`login failed: ${reply.statusCode} ${reply.body}`)
  return reply.json().token
}
