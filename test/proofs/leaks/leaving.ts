import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../../lib/index.js'
import { createTokenFormat } from '../../../lib/crypto/token.js'
import { caller, createApp, createUser, PASSWORD, testOptions } from '../../helpers/app.js'
import { countListeners, databaseConnections, lastingKeys, redisConnections, resourcesSince, watchHandles } from '../../helpers/leftovers.js'
import { redisUrl, uniqueNamespace } from '../../helpers/services.js'
import { until } from '../../helpers/until.js'

export const format = createTokenFormat({ prefix: 'fta', randomBytes })

export type Setup = Partial<AuthPluginOptions>

/** Uses every kind of feature of a server. */
export async function exercise (app: FastifyInstance, hasCaptcha = false): Promise<void> {
  const call = caller(app)
  const { username } = await createUser(app)
  const enter = async (password = PASSWORD) => await call('POST', '/auth/login', { body: { username, password, ...hasCaptcha ? { captchaToken: randomBytes(9).toString('hex') } : {} } })
  const statuses = [(await enter('wrong password')).statusCode]
  const { token } = (await enter()).json()
  for (let i = 0; i < 3; i++) statuses.push((await call('GET', '/protected', { token })).statusCode)
  statuses.push((await call('GET', '/auth/sessions', { token })).statusCode)
  statuses.push((await call('GET', '/protected', { token: `${token.slice(0, -1)}-` })).statusCode)
  statuses.push((await call('GET', '/protected', { token: format.create() })).statusCode)
  statuses.push((await call('POST', '/auth/logout', { token })).statusCode)
  statuses.push((await call('GET', '/protected', { token })).statusCode)
  if (String(statuses) !== '401,200,200,200,200,401,401,204,401') throw new Error(`the server answered ${String(statuses)}`)
}

/** Options with a unique name for the connections of the server. */
function named (databaseUrl: string, setup: Setup): { name: string, options: AuthPluginOptions } {
  const name = uniqueNamespace().slice(0, -1)
  return {
    name,
    options: testOptions(databaseUrl, {
      database: { connectionString: databaseUrl, application_name: name },
      redis: { url: redisUrl(), connectionName: name },
      rateLimit: { max: 100 },
      ...setup
    })
  }
}

/** Runs a server with the setup, closes it, and checks that nothing is left. */
export async function leavesNothing (t: Test, databaseUrl: string, setup: Setup, use: (app: FastifyInstance) => Promise<void> = async (app) => await exercise(app)): Promise<void> {
  const { name, options } = named(databaseUrl, setup)
  const before = { resources: process.getActiveResourcesInfo(), listeners: countListeners({ process }) }
  const handles = watchHandles()
  const app = await createApp(t, options)
  await use(app)
  await app.close()
  await handles.end()
  await until(() => resourcesSince(before.resources).length === 0, 'no new resource keeps the process running')
  t.same(countListeners({ process }), before.listeners)
  await until(async () => await databaseConnections(databaseUrl, name) === 0, 'PostgreSQL has no connection of the server')
  await until(async () => await redisConnections(name) === 0, 'Redis has no connection of the server')
  t.same(await lastingKeys(options.cache!.namespace!), [])
}
