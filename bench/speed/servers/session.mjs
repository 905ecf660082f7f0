// @fastify/session with connect-redis. `rolling: false` is its faster setting: the default also writes a cookie into every reply.
import cookie from '@fastify/cookie'
import session from '@fastify/session'
import { RedisStore } from 'connect-redis'
import Fastify from 'fastify'
import { createClient } from 'redis'
import { cookiesOf, inTurns } from './many.mjs'

export async function start ({ name, tokens }) {
  const client = await createClient({ url: process.env.REDIS_URL }).connect()
  const app = Fastify()
  await app.register(cookie)
  await app.register(session, {
    secret: 'a secret of at least thirty-two bytes',
    store: new RedisStore({ client, prefix: `bench-${name}:`, ttl: 86_400 }),
    cookie: { secure: false, maxAge: 86_400_000 },
    rolling: false,
    saveUninitialized: false
  })
  app.post('/login', async ({ session }) => {
    session.username = 'alice'
    return {}
  })
  app.get('/me', async ({ session }, reply) => session.username === undefined ? await reply.code(401).send() : { username: session.username })
  await app.ready()
  const headers = await inTurns(tokens, async () => `cookie: ${cookiesOf((await app.inject({ method: 'POST', url: '/login' })).headers['set-cookie'])}`)
  return { app, headers }
}
