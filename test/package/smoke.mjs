// Tests what must work on every supported runtime with every supported version of a peer. Requires DATABASE_URL (an empty database) and REDIS_URL.
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import pg from 'pg'
import { Kysely, PostgresDialect } from 'kysely'
import authPlugin, { authenticate, errors, PreparedClient, requireUser } from 'fastify-token-auth'

const PASSWORD = 'correct horse battery'
const NEW_PASSWORD = 'staple battery horse'
const { DATABASE_URL: connectionString, REDIS_URL: url, NAMESPACE: namespace = 'smoke:' } = process.env

/** Logs in, reads from the cache, changes the password and ends sessions on a server with these handles. */
async function useServer (label, options) {
  const app = Fastify()
  await app.register(authPlugin, { rateLimit: false, autoMigrate: true, cache: { namespace }, ...options })
  app.get('/mine', { onRequest: authenticate }, async (request) => requireUser(request))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const origin = `http://127.0.0.1:${app.server.address().port}`
  const call = async (method, path, { token, body } = {}) => {
    const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(body && { 'content-type': 'application/json' }) }
    const reply = await fetch(origin + path, { method, headers, body: body && JSON.stringify(body) })
    return { status: reply.status, json: await reply.json().catch(() => null) }
  }
  const status = async (path, token) => (await call('GET', path, { token })).status

  const username = `user-${label}-${process.pid}`
  const { id } = await app.tokenAuth.createUser({ username, password: PASSWORD })
  await assert.rejects(app.tokenAuth.createUser({ username, password: PASSWORD }), errors.USERNAME_TAKEN)
  const login = async (password) => await call('POST', '/auth/login', { body: { username, password } })
  assert.equal((await login('a wrong password')).status, 401)
  const [first, second] = [(await login(PASSWORD)).json.token, (await login(PASSWORD)).json.token]
  for (let times = 0; times < 3; times++) assert.equal((await call('GET', '/mine', { token: first })).json.username, username)
  assert.equal(await status('/auth/me', second), 200)

  const changed = await call('POST', '/auth/change-password', { token: first, body: { currentPassword: PASSWORD, newPassword: NEW_PASSWORD } })
  assert.equal(changed.status, 200)
  for (const ended of [first, second]) assert.equal(await status('/mine', ended), 401)
  const { token } = changed.json
  assert.equal(await status('/mine', token), 200)
  assert.equal((await call('POST', '/auth/logout', { token })).status, 204)
  assert.equal(await status('/mine', token), 401)
  assert.equal(await app.tokenAuth.deleteUser(id), true)
  const { database, cache } = await app.tokenAuth.health()
  assert.equal(database, 'up')
  await app.close()
  return cache
}

const redis = url === undefined ? {} : { redis: { url } }
console.log('own pool and cache:', await useServer('pool', { database: { connectionString }, ...redis }))
console.log('in one process:', await useServer('process', { database: { connectionString } }))
const pool = new pg.Pool({ connectionString, Client: PreparedClient })
const db = new Kysely({ dialect: new PostgresDialect({ pool }) })
console.log('the host\'s Kysely:', await useServer('kysely', { database: db, ...redis }))
await db.destroy()
console.log('ok')
