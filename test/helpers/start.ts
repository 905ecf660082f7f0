import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { authPlugin } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { caller, createUser, login } from './app.js'

/** Resolves to the error that stops the start. Throws if there is none. */
export async function refusal (t: Test, options: object, before: (app: FastifyInstance) => unknown = () => {}): Promise<Error & { code: string }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await before(app)
  const error = await app.register(authPlugin, options as AuthPluginOptions).then(() => null, (error) => error)
  if (error === null) throw new Error('it started')
  return error
}

interface Line { level: number, msg: string }

/** A server's logger and what it has written. */
export function logTo (): { server: { logger: object }, lines: Line[], warnings: () => string[] } {
  const lines: Line[] = []
  const stream = { write: (line: string) => { lines.push(JSON.parse(line)) } }
  return { server: { logger: { level: 'info', stream } }, lines, warnings: () => lines.filter(({ level }) => level >= 40).map(({ msg }) => msg) }
}

/** Makes a login, an uncached and a cached request, and a logout, which use both stores. Resolves to the username. */
export async function roundTrip (t: Test, app: FastifyInstance): Promise<string> {
  const { username } = await createUser(app)
  const token = await login(app, username)
  for (let times = 0; times < 2; times++) t.equal((await caller(app)('GET', '/auth/me', { token })).json().user.username, username)
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 401)
  return username
}
