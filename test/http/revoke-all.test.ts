import t from 'tap'
import type { UserId } from '../../types/user.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, query } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
const options = testOptions(database.url)
const app = await createApp(t, options)
const other = await createApp(t, options)
const { tokenAuth } = app
const UUID = '00000000-0000-4000-8000-000000000000'

async function statusesOf (tokens: string[], on = other): Promise<number[]> {
  return await Promise.all(tokens.map(async (token) => (await caller(on)('GET', '/protected', { token })).statusCode))
}

t.test('findUser returns the user with a name, active or not', async (t) => {
  const { id } = await tokenAuth.createUser({ username: 'Ann', password: PASSWORD })
  t.same(await tokenAuth.findUser('Ann'), { id, username: 'Ann' })
  await tokenAuth.setActive(id, false)
  t.same(await tokenAuth.findUser('Ann'), { id, username: 'Ann' })
  for (const name of ['ann', 'nobody', '', 'Ann\0', 'x'.repeat(300)]) t.equal(await tokenAuth.findUser(name), null, JSON.stringify(name))
  const selecting = await createApp(t, testOptions(database.url, { users: { select: ['active'], canonicalize: (name) => name.toLowerCase() } }))
  await selecting.tokenAuth.createUser({ username: 'Bea', password: null })
  t.match(await selecting.tokenAuth.findUser('BEA'), { username: 'bea', active: true })
})

t.test('findUser returns the active one of two users with a name, and none if both are active', async (t) => {
  const own = await createDatabase()
  t.teardown(own.drop)
  await query('create table users (id int primary key, username text, password_hash text, active boolean)', own.url)
  await query("insert into users values (1, 'ann', null, false), (2, 'ann', null, true), (3, 'bob', null, true), (4, 'bob', null, true)", own.url)
  const host = await createApp(t, testOptions(own.url, { users: { table: 'users', columns: { lastLogin: null } } }))
  t.same(await host.tokenAuth.findUser('ann'), { id: 2, username: 'ann' })
  t.equal(await host.tokenAuth.findUser('bob'), null)
})

t.test('revokeSession ends one session by its id on every server', async (t) => {
  const { id, username } = await createUser(app)
  const tokens = [await login(app, username), await login(app, username)]
  t.same(await statusesOf(tokens), [200, 200])
  const [, first] = await tokenAuth.listSessions(id)
  t.equal(await tokenAuth.revokeSession(first!.id), true)
  t.same((await statusesOf(tokens)).sort(), [200, 401])
  t.equal(await tokenAuth.revokeSession(first!.id), true, 'again')
  t.equal((await tokenAuth.listSessions(id)).length, 1)
  for (const unknown of [UUID, '', 'garbage']) t.equal(await tokenAuth.revokeSession(unknown), false)
})

t.test('revokeAll ends the sessions of all users on every server, and reports its progress', async (t) => {
  await tokenAuth.revokeAll()
  const users = await Promise.all(Array.from({ length: 9 }, async () => await createUser(app)))
  const tokens = await Promise.all([...users, ...users.slice(0, 3)].map(async ({ username }) => await login(app, username)))
  const { token } = await tokenAuth.issueToken(users[0]!.id, { label: 'CI', scopes: ['deploy'] })
  t.same(new Set(await statusesOf(tokens)), new Set([200]))
  const progress: number[] = []
  t.equal(await tokenAuth.revokeAll({ onProgress: ({ revoked }) => progress.push(revoked) }), 13)
  t.equal(progress.at(-1), 13)
  t.ok(progress.length > 1, 'in steps')
  for (const server of [app, other]) t.same(new Set(await statusesOf([...tokens, token], server)), new Set([401]))
  t.equal(await tokenAuth.revokeAll(), 0)
  t.equal((await statusesOf([await login(app, users[0]!.username)]))[0], 200, 'the next login works')
})

t.test('revokeAll that the cache does not acknowledge ends all the same, and a repeated call completes it', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const host = await createApp(t, testOptions(database.url, { redis: { url: redis.url } }))
  const tokens = [await login(host, (await createUser(host)).username), await login(host, (await createUser(host)).username)]
  t.same(await statusesOf(tokens, host), [200, 200])
  await redis.kill()
  await until(async () => (await host.tokenAuth.health()).cache === 'down', 'the loss is seen')
  await t.rejects(host.tokenAuth.revokeAll(), { code: 'FST_TOKEN_AUTH_REVOCATION_PENDING' })
  t.same(await query('select 1 from auth_tokens where revoked_at is null', database.url), [])
  await redis.start()
  await until(async () => (await host.tokenAuth.health()).cache === 'up', 'it is back')
  t.equal(await host.tokenAuth.revokeAll(), 0)
  t.same(await statusesOf(tokens, host), [401, 401])
})

t.test('after a deleteUser that is pending, every call of another server that ends the token completes it', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const proxy = await createTcpProxy(t, redis)
  const shared = testOptions(database.url)
  const [near, far] = [await createApp(t, { ...shared, redis: { url: redis.url } }), await createApp(t, { ...shared, redis: { url: `redis://127.0.0.1:${proxy.port}` } })]
  const ways: Record<string, (user: { id: UserId, sessionId: string, token: string }) => Promise<unknown>> = {
    revokeUser: async ({ id }) => await near.tokenAuth.revokeUser(id),
    revokeAll: async () => await near.tokenAuth.revokeAll(),
    revokeSession: async ({ sessionId }) => await near.tokenAuth.revokeSession(sessionId),
    revokeToken: async ({ token }) => await near.tokenAuth.revokeToken(token),
    deleteUser: async ({ id }) => await near.tokenAuth.deleteUser(id)
  }
  for (const [name, end] of Object.entries(ways)) {
    const { id, username } = await createUser(near)
    const token = await login(near, username)
    const [session] = await near.tokenAuth.listSessions(id)
    t.same(await statusesOf([token], near), [200])
    proxy.cut()
    await t.rejects(far.tokenAuth.deleteUser(id), { code: 'FST_TOKEN_AUTH_REVOCATION_PENDING' })
    t.same(await statusesOf([token], near), [200], 'its end is pending')
    await end({ id, sessionId: session!.id, token })
    t.same(await statusesOf([token], near), [401], name)
    proxy.pass()
    await until(async () => (await far.tokenAuth.health()).cache === 'up', 'the connection is back')
  }
})

t.test('revokeAll rejects at once if the database fails', async (t) => {
  const own = await createDatabase()
  t.teardown(own.drop)
  const host = await createApp(t, testOptions(own.url))
  await login(host, (await createUser(host)).username)
  await query(`create function refuse () returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
    create trigger refuse before update on auth_tokens for each row execute function refuse()`, own.url)
  await t.rejects(host.tokenAuth.revokeAll(), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
})

t.test('API tokens, which have a label, are not counted in maxPerUser', async (t) => {
  const small = await createApp(t, testOptions(database.url, { token: { maxPerUser: 1 } }))
  const { id, username } = await createUser(small)
  const labelled = [await small.tokenAuth.issueToken(id, { label: 'CI' }), await small.tokenAuth.issueToken(id, { label: 'backup' })].map(({ token }) => token)
  const first = await login(small, username)
  t.same(await statusesOf([...labelled, first], small), [200, 200, 200])
  const { token: third } = await small.tokenAuth.issueToken(id)
  t.same(await statusesOf([...labelled, first, third], small), [200, 200, 401, 200])
})
