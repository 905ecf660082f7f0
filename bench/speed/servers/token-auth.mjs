// This plugin, in each of its modes.
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { authPlugin } from '../../../dist/lib/index.js'
import { forgetKeys, issueTokens } from '../../common.mjs'

/**
 * A server is under load for a twentieth of the run. What it does once in a while with each token would be twenty times too much of its work,
 * so these are twenty times the defaults; a token is cached for an hour, which is longer than a run.
 */
const SELDOM = { cache: { ttl: '1h' }, token: { touchInterval: '20m' } }

export async function start ({ name, tokens, redis, near, fresh = false }) {
  const app = Fastify()
  const namespace = `bench-${name}:`
  await app.register(authPlugin, {
    database: { connectionString: process.env.DATABASE_URL },
    redis: redis ? { url: process.env.REDIS_URL } : null,
    cache: { ...SELDOM.cache, namespace, near: near ?? false },
    token: SELDOM.token
  })
  app.get('/me', { onRequest: fresh ? app.authenticate.with({ fresh }) : app.authenticate }, async ({ user }) => ({ username: user.username }))
  const issued = await issueTokens(process.env.DATABASE_URL, { count: tokens, username: 'alice' })
  return { app, headers: issued.map((token) => `authorization: Bearer ${token}`), forget: () => forget(namespace) }
}

// Only tokens: without its other keys the server would assume that Redis has lost revocations, and would stop using it for a moment.
async function forget (namespace) {
  const redis = new Redis(process.env.REDIS_URL)
  await forgetKeys(redis, `${namespace}t:*`)
  redis.disconnect()
}
