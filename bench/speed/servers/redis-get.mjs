// The least that sessions in Redis need, written by hand: no revocation that is final, no fallback, no checks of what Redis answers.
import { hash, randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import { Redis } from 'ioredis'

const LIFE_S = 86_400

export async function start ({ name, tokens }) {
  const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true })
  const keyOf = (token) => `bench-${name}:${hash('sha256', token, 'base64url')}`
  const app = Fastify()
  app.decorateRequest('user', null)

  async function authenticate (request, reply) {
    const { authorization } = request.headers
    const value = authorization?.startsWith('Bearer ') ? await redis.get(keyOf(authorization.slice(7))) : null
    if (value === null) return await reply.code(401).send()
    request.user = JSON.parse(value)
  }

  app.get('/me', { onRequest: authenticate }, async ({ user }) => ({ username: user.username }))
  const issued = Array.from({ length: tokens }, () => randomBytes(32).toString('base64url'))
  await Promise.all(issued.map((token, id) => redis.set(keyOf(token), JSON.stringify({ id, username: 'alice', roles: [] }), 'EX', LIFE_S)))
  return { app, headers: issued.map((token) => `authorization: Bearer ${token}`) }
}
