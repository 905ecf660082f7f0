// @fastify/jwt with HS256: the token has everything, and nothing can revoke it.
import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import jwt from '@fastify/jwt'

export async function start ({ tokens, cache }) {
  const app = Fastify()
  await app.register(jwt, { secret: 'a secret of at least thirty-two bytes', verify: { cache } })
  app.get('/me', { onRequest: (request) => request.jwtVerify() }, async ({ user }) => ({ username: user.username }))
  const sign = () => app.jwt.sign({ sub: randomUUID(), username: 'alice' }, { expiresIn: '1d', jti: randomUUID() })
  return { app, headers: Array.from({ length: tokens }, () => `authorization: Bearer ${sign()}`) }
}
