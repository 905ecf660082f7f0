import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { AuthPluginOptions } from '../../lib/index.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase, freshDatabase, query, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'

const MEMBERS = 'create table members (id serial primary key, username text unique, password_hash text, role text default \'member\', salary int default 90000)'

const statusOf = async (app: FastifyInstance, token: string) => (await caller(app)('GET', '/protected', { token })).statusCode

/** Repeats a request until its entry is in Redis. */
async function warm (t: Test, app: FastifyInstance, namespace: string, token: string): Promise<void> {
  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  await until(async () => {
    t.equal(await statusOf(app, token), 200)
    return (await redis.get(`${namespace}t:${digestOf(token)}`))?.startsWith('V') === true
  }, 'the entry is filled')
}

t.test('an entry is of one view of the tables: servers with another one ask PostgreSQL', async (t) => {
  const url = await freshDatabase(t)
  await query(MEMBERS, url)
  const namespace = uniqueNamespace()
  const open = async (users: AuthPluginOptions['users'], token: AuthPluginOptions['token'] = {}) =>
    await createApp(t, testOptions(url, { cache: { namespace }, token, users: { table: 'members', columns: { active: null, lastLogin: null }, ...users } }))
  const [all, admins, paid] = [await open({}), await open({ activeWhen: "role = 'admin'" }), await open({ select: ['salary'] })]
  const idle = await open({}, { idleTtl: '1h' })
  const { id } = await all.tokenAuth.createUser({ username: 'alice', password: PASSWORD })
  const { token } = await all.tokenAuth.issueToken(id)
  await warm(t, all, namespace, token)
  t.equal(await statusOf(admins, token), 401, 'another condition for active users')
  t.match((await caller(paid)('GET', '/protected', { token })).json().user, { salary: 90000 }, 'more columns')
  t.equal(await statusOf(idle, token), 200)
  await query('update auth_tokens set last_used_at = now() - interval \'2 hours\'', url)
  t.equal(await statusOf(idle, token), 401, 'an idle limit')

  const other = (await paid.tokenAuth.issueToken(id)).token
  await warm(t, paid, namespace, other)
  t.same((await caller(all)('GET', '/protected', { token: other })).json().user, { id, username: 'alice' }, 'fewer columns')
  await caller(all)('POST', '/auth/logout', { token: other })
  t.equal(await statusOf(paid, other), 401, 'a tombstone is for all of them')
})

t.test('a server on a copy of the database cannot make a revoked token live again on the same Redis', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  const namespace = uniqueNamespace()
  const options = { cache: { namespace } }
  const first = await createApp(t, testOptions(database.url, options))
  const { id } = await first.tokenAuth.createUser({ username: 'alice', password: PASSWORD })
  const { token } = await first.tokenAuth.issueToken(id)
  await first.close()
  const copy = await createDatabase(undefined, `TEMPLATE ${new URL(database.url).pathname.slice(1)}`)
  t.teardown(copy.drop)
  const [production, staging] = [await createApp(t, testOptions(database.url, options)), await createApp(t, testOptions(copy.url, options))]
  t.equal((await caller(production)('POST', '/auth/logout', { token })).statusCode, 204)
  // As if the tombstone's time were over.
  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  await redis.del(`${namespace}t:${digestOf(token)}`)
  await warm(t, staging, namespace, token)
  t.equal(await statusOf(production, token), 401)
})

t.test('registrations in one process without Redis end tokens for each other', async (t) => {
  const url = await freshDatabase(t)
  const open = async () => await createApp(t, testOptions(url, { redis: null }))
  const [one, other] = [await open(), await open()]
  const { id } = await one.tokenAuth.createUser({ username: 'alice', password: PASSWORD })
  const { token } = await one.tokenAuth.issueToken(id)
  for (const app of [one, other, one, other]) t.equal(await statusOf(app, token), 200)
  t.equal((await caller(one)('POST', '/auth/logout', { token })).statusCode, 204)
  for (const app of [one, other]) t.equal(await statusOf(app, token), 401)
  await one.close()
  const next = (await other.tokenAuth.issueToken(id)).token
  t.equal(await statusOf(other, next), 200)
  await other.tokenAuth.revokeUser(id)
  t.equal(await statusOf(other, next), 401)
})
