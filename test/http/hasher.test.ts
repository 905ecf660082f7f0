import Fastify from 'fastify'
import t from 'tap'
import { authPlugin } from '../../lib/index.js'
import type { Hasher } from '../../lib/index.js'
import { caller, createApp, createUser, fastHasher, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool } = countingPool(t, database.url)
const app = await createApp(t, testOptions(database.url))

/** The cheap hasher, which calls a function while it hashes or verifies. */
function interrupted (during: { hash?: () => Promise<unknown>, verify?: () => Promise<unknown> }): Hasher {
  return {
    ...fastHasher,
    hash: async (password) => { await during.hash?.(); return await fastHasher.hash(password) },
    verify: async (password, hash) => { const isRight = await fastHasher.verify(password, hash); await during.verify?.(); return isRight }
  }
}

t.test('changes while a password is hashed', async (t) => {
  const body = { currentPassword: PASSWORD, newPassword: 'another password' }

  await t.test('a change-password whose session is logged out meanwhile changes nothing', async (t) => {
    const { username } = await createUser(app)
    const token = await login(app, username)
    const host = await createApp(t, testOptions(database.url, { hasher: interrupted({ verify: async () => await app.tokenAuth.revokeToken(token) }) }))
    t.match((await caller(host)('POST', '/auth/change-password', { token, body })).json(), { statusCode: 401, code: 'FST_TOKEN_AUTH_INVALID_TOKEN' })
    t.ok(await login(app, username), 'the old password is still valid')
  })

  await t.test('a login whose password is changed meanwhile is refused', async (t) => {
    const { id, username } = await createUser(app)
    const host = await createApp(t, testOptions(database.url, { hasher: interrupted({ verify: async () => await app.tokenAuth.setPassword(id, 'another password') }) }))
    t.equal((await caller(host)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode, 401)
    t.same(await app.tokenAuth.listSessions(id), [])
  })

  await t.test('a user who is deleted meanwhile is not found', async (t) => {
    // The plugin computes one hash when it starts, so the user is created after that.
    const username = 'not long for this world'
    const host = await createApp(t, testOptions(database.url, { hasher: interrupted({ hash: async () => await pool.query('delete from users where username = $1', [username]) }) }))
    await until(async () => (await caller(host)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode === 401, 'that hash is computed')
    const { id } = await createUser(app, username)
    await t.rejects(host.tokenAuth.setPassword(id, 'another password'), { code: 'FST_TOKEN_AUTH_USER_NOT_FOUND' })
    const late = Fastify()
    t.teardown(() => late.close())
    late.addHook('preHandler', async ({ user }) => { await pool.query('delete from users where id = $1', [user?.id]) })
    await late.register(authPlugin, testOptions(database.url))
    const other = await createUser(app, `${username}-2`)
    const reply = await late.inject({ method: 'POST', url: '/auth/change-password', headers: { authorization: `Bearer ${await login(app, other.username)}` }, payload: body })
    t.equal(reply.statusCode, 401)
  })
})

t.test('the server closes a hasher that has close()', async (t) => {
  let closed = 0
  const host = await createApp(t, testOptions(database.url, { hasher: { ...fastHasher, close: async () => { closed++ } } }))
  await host.close()
  t.equal(closed, 1)
})
