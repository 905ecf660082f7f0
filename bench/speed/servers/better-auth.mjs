// better-auth with Redis as its secondary storage, and with its cookie cache on top.
import { createHmac, randomBytes } from 'node:crypto'
import { betterAuth } from 'better-auth'
import { memoryAdapter } from 'better-auth/adapters/memory'
import { fromNodeHeaders } from 'better-auth/node'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { cookiesOf, inTurns } from './many.mjs'

const SECRET = 'a secret of at least thirty-two bytes'
const LIFE_S = 86_400

export async function start ({ name, tokens, cookieCache }) {
  const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true, keyPrefix: `bench-${name}:` })
  const auth = open(redis, cookieCache)
  const sessions = await copySession({ auth, redis, count: tokens })
  const headers = cookieCache ? await inTurns(tokens, (i) => withCache(auth, sessions[i])) : sessions
  const app = Fastify()
  app.decorateRequest('user', null)

  async function authenticate (request, reply) {
    const found = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) })
    if (found === null) return await reply.code(401).send()
    request.user = found.user
  }

  app.get('/me', { onRequest: authenticate }, async ({ user }) => ({ username: user.name }))
  return { app, headers: headers.map((cookie) => `cookie: ${cookie}`) }
}

function open (redis, cookieCache) {
  return betterAuth({
    secret: SECRET,
    baseURL: 'http://127.0.0.1',
    database: memoryAdapter({ user: [], account: [], session: [], verification: [] }),
    secondaryStorage: {
      get: (key) => redis.get(key),
      set: (key, value, ttl) => ttl ? redis.set(key, value, 'EX', ttl) : redis.set(key, value),
      delete: (key) => redis.del(key)
    },
    emailAndPassword: { enabled: true },
    session: { cookieCache: { enabled: cookieCache, maxAge: LIFE_S } },
    telemetry: { enabled: false }
  })
}

// A login of its own for each session would take minutes: better-auth keeps a list of the sessions of a user, and writes all of it at each login.
async function copySession ({ auth, redis, count }) {
  const { token } = await auth.api.signUpEmail({ body: { name: 'alice', email: 'alice@example.com', password: 'correct horse battery' } })
  const value = JSON.parse(await redis.get(token))
  const name = (await auth.$context).authCookies.sessionToken.name
  return await inTurns(count, async () => {
    const copy = randomBytes(24).toString('base64url')
    await redis.set(copy, JSON.stringify({ ...value, session: { ...value.session, token: copy } }), 'EX', LIFE_S)
    return `${name}=${encodeURIComponent(`${copy}.${createHmac('sha256', SECRET).update(copy).digest('base64')}`)}`
  })
}

async function withCache (auth, cookie) {
  const { headers } = await auth.api.getSession({ headers: new Headers({ cookie }), returnHeaders: true })
  return `${cookie}; ${cookiesOf(headers.getSetCookie())}`
}
