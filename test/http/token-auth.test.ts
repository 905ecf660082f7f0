import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import Fastify from 'fastify'
import t from 'tap'
import { authPlugin } from '../../lib/index.js'
import type { AuthEvents, AuthHooks } from '../../lib/index.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool } = countingPool(t, database.url)
const UUID = '00000000-0000-4000-8000-000000000000'

// Two servers that share Redis and PostgreSQL: one must refuse the tokens that the other revokes.
const options = testOptions(database.url)
const app = await createApp(t, options)
const other = await createApp(t, options)
const { tokenAuth } = app

async function statusOf (token: string, on = other): Promise<number> {
  return (await caller(on)('GET', '/protected', { token })).statusCode
}

async function cachedSessions () {
  const user = await createUser(app)
  const tokens = [await login(app, user.username), await login(other, user.username)]
  for (const token of tokens) for (const on of [app, other]) t.equal(await statusOf(token, on), 200)
  return { user, tokens }
}

async function areRefused (tokens: string[]): Promise<void> {
  for (const token of tokens) for (const on of [app, other]) t.equal(await statusOf(token, on), 401)
}

t.test('every call that ends sessions ends them on every server', async (t) => {
  const calls: Record<string, (id: string | number) => Promise<unknown>> = {
    setPassword: (id) => tokenAuth.setPassword(id, 'a password set by an admin'),
    setActive: (id) => tokenAuth.setActive(id, false),
    deleteUser: (id) => tokenAuth.deleteUser(id),
    revokeUser: (id) => tokenAuth.revokeUser(id)
  }
  for (const [name, end] of Object.entries(calls)) {
    await t.test(name, async (t) => {
      const [{ user, tokens }, bystander] = [await cachedSessions(), await cachedSessions()]
      await end(user.id)
      await areRefused(tokens)
      for (const token of bystander.tokens) t.equal(await statusOf(token), 200)
      t.same(await tokenAuth.listSessions(user.id), [])
    })
  }

  await t.test('revokeToken', async (t) => {
    const { tokens: [token, second] } = await cachedSessions()
    t.equal(await tokenAuth.revokeToken(token!), true)
    await areRefused([token!])
    t.equal(await statusOf(second!), 200)
    t.equal(await tokenAuth.revokeToken(token!), true, 'again')
    t.equal(await tokenAuth.revokeToken('garbage'), false)
    t.equal(await tokenAuth.revokeToken((await tokenAuth.issueToken((await createUser(app)).id)).token.replace(/.{49}$/, '')), false)
  })
})

t.test('createUser stores a hash, and rejects taken usernames and bad passwords', async (t) => {
  const user = await tokenAuth.createUser({ username: 'Ann', password: PASSWORD })
  t.same(Object.keys(user), ['id', 'username'])
  const { rows: [row] } = await pool.query('select password_hash from users where username = $1', ['Ann'])
  t.match(row.password_hash, /^\$2[ab]\$/)
  await t.rejects(tokenAuth.createUser({ username: 'Ann', password: PASSWORD }), { code: 'FST_TOKEN_AUTH_USERNAME_TAKEN', statusCode: 409 })
  await t.rejects(tokenAuth.createUser({ username: 'Bob', password: 'short' }), { code: 'FST_TOKEN_AUTH_PASSWORD_TOO_SHORT' })
  await t.rejects(tokenAuth.createUser({ username: 'Bob', password: 'x'.repeat(1025) }), { code: 'FST_TOKEN_AUTH_PASSWORD_TOO_LONG' })
  await t.rejects(tokenAuth.createUser({ username: 'Bob', password: 'a NUL \0 in it' }), { code: 'FST_TOKEN_AUTH_PASSWORD_MALFORMED' })
  for (const username of ['', '  ', '\t', 'Bob\0', '\ud800', 'x'.repeat(255)]) await t.rejects(tokenAuth.createUser({ username, password: PASSWORD }), { code: 'FST_TOKEN_AUTH_INVALID_USERNAME', statusCode: 400 })
  const inactive = await tokenAuth.createUser({ username: 'Carl', password: PASSWORD, fields: { active: false } })
  await t.rejects(login(app, inactive.username), /401/)
  await tokenAuth.setActive(inactive.id, true)
  t.ok(await login(app, inactive.username))
})

t.test('an unknown user id is reported as not found', async (t) => {
  await t.rejects(tokenAuth.setPassword(UUID, PASSWORD), { code: 'FST_TOKEN_AUTH_USER_NOT_FOUND' })
  await t.rejects(tokenAuth.setActive(UUID, false), { code: 'FST_TOKEN_AUTH_USER_NOT_FOUND' })
  await t.rejects(tokenAuth.issueToken(UUID), { code: 'FST_TOKEN_AUTH_USER_NOT_FOUND' })
  for (const call of [tokenAuth.revokeUser, tokenAuth.listSessions, tokenAuth.deleteUser] as ((id: string) => Promise<unknown>)[]) {
    await t.rejects(call('not a uuid'), { code: 'FST_TOKEN_AUTH_INVALID_INPUT', message: 'The database rejected a value: it is not a valid uuid' })
  }
  t.equal(await tokenAuth.deleteUser(UUID), false)
  t.equal(await tokenAuth.revokeUser(UUID), 0)
  t.equal(await tokenAuth.refreshUser(UUID), true)
})

t.test('issueToken returns a token with its own label, scopes and lifetime', async (t) => {
  const { id } = await createUser(app)
  const { token, sessionId, expiresAt, user } = await tokenAuth.issueToken(id, { label: 'CI', scopes: ['deploy'], ttl: '1h', ip: '2001:db8::1', userAgent: 'robot' })
  t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 200)
  t.equal(user.id, id)
  t.ok(Math.abs(expiresAt.getTime() - Date.now() - 3_600_000) < 60_000)
  t.match(await tokenAuth.listSessions(id), [{ id: sessionId, label: 'CI', scopes: ['deploy'], ip: '2001:db8::1', userAgent: 'robot' }])
  await t.rejects(tokenAuth.issueToken(id, { ttl: 'soon' }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: 'ttl must be a duration of at least 1 s, got "soon"' })
  await tokenAuth.setActive(id, false)
  await t.rejects(tokenAuth.issueToken(id), { code: 'FST_TOKEN_AUTH_USER_NOT_FOUND' })
})

t.test('a reused user id has no tokens of the deleted user', async (t) => {
  const { user, tokens } = await cachedSessions()
  await tokenAuth.deleteUser(user.id)
  await pool.query('insert into users (id, username) values ($1, $2)', [user.id, 'a newcomer'])
  await areRefused(tokens)
  const { rows } = await pool.query('select user_id, revoke_reason from auth_tokens where revoke_reason = \'user_deleted\'')
  t.ok(rows.length >= 2)
  t.ok(rows.every((row) => row.user_id === null))
})

t.test('pruneExpired deletes long-ended tokens in batches, and nothing else', async (t) => {
  const { user } = await cachedSessions()
  await pool.query('insert into auth_tokens (digest, user_id, expires_at) select sha256(n::text::bytea), $1, now() - interval \'8 days\' from generate_series(1, 25) n', [user.id])
  await pool.query('insert into auth_tokens (digest, user_id, expires_at, revoked_at) select sha256(n::text::bytea), $1, now() + interval \'1 day\', now() - interval \'8 days\' from generate_series(26, 30) n', [user.id])
  const before = (await pool.query('select count(*)::int as n from auth_tokens')).rows[0].n
  const seen: number[] = []
  t.equal(await tokenAuth.pruneExpired({ batchSize: 10, onProgress: ({ deleted }) => seen.push(deleted) }), 30)
  t.same(seen, [10, 20, 30, 30])
  t.equal((await pool.query('select count(*)::int as n from auth_tokens')).rows[0].n, before - 30)
  t.equal(await tokenAuth.pruneExpired(), 0)
})

t.test('hooks and diagnostics channels receive every event, and a hook that throws does not change any answer', async (t) => {
  const heard: [string, object][] = []
  const hooks = Object.fromEntries(['Login', 'LoginFailed', 'Logout', 'PasswordChanged', 'Revoked'].map((name) => [`on${name}`, (event: object) => {
    heard.push([name, event])
    throw new Error('a fault of the hook')
  }])) as AuthHooks
  const published: unknown[] = []
  const listener = (event: unknown) => { published.push(event) }
  subscribe('fastify-token-auth:login', listener)
  t.teardown(() => unsubscribe('fastify-token-auth:login', listener))
  const host = await createApp(t, testOptions(database.url, { hooks }))
  const { id, username } = await createUser(host)
  const call = caller(host)
  await call('POST', '/auth/login', { body: { username, password: 'wrong password' } })
  await call('POST', '/auth/login', { body: { username: 'nobody', password: 'wrong password' } })
  const token = await login(host, username)
  const changed = await call('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'a new password' } })
  await call('POST', '/auth/logout', { token: changed.json().token })
  await until(() => heard.length === 7, 'every hook is called')
  t.match(heard, [
    ['LoginFailed', { reason: 'wrong_password', userId: id, ip: '127.0.0.1', requestId: /./ }],
    ['LoginFailed', { reason: 'unknown_user', userId: null }],
    ['Login', { userId: id, sessionId: /-/ }],
    ['PasswordChanged', { userId: id }],
    ['Revoked', { userId: id, reason: 'password_changed', count: 1 }],
    ['Logout', { userId: id, sessionId: /-/ }],
    ['Revoked', { userId: id, reason: 'logout', count: 1 }]
  ])
  t.equal(published.length, 1)
  t.notMatch(JSON.stringify(heard), token.slice(4))
})

t.test('health reports the database and the cache, and openapi returns the security scheme', async (t) => {
  await until(async () => (await tokenAuth.health()).cache === 'up', 'the cache is trusted')
  t.same(await tokenAuth.health(), { database: 'up', cache: 'up' })
  const alone = await createApp(t, { ...options, redis: undefined as never })
  t.same(await alone.tokenAuth.health(), { database: 'up', cache: 'in-process' })
  t.same(Object.keys(tokenAuth.openapi().components.securitySchemes), ['bearerToken'])
})

t.test('while Redis is unavailable', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const failures: AuthEvents['cacheError'][] = []
  const strict = await createApp(t, testOptions(database.url, { redis: { url: redis.url }, hooks: { onCacheError: (event) => { failures.push(event) } } }))
  const bounded = await createApp(t, testOptions(database.url, { redis: { url: redis.url }, revocation: 'bounded' }))
  const { id, username } = await createUser(strict)
  const tokens = [await login(strict, username), await login(strict, username), await login(strict, username), await login(strict, username)]
  for (const token of tokens) t.equal(await statusOf(token, strict), 200)
  const [first, second, third, fourth] = tokens as [string, string, string, string]
  const call = caller(strict)

  await redis.kill()
  await until(async () => (await strict.tokenAuth.health()).cache === 'down', 'the loss is seen')

  await t.test('tokens are looked up in SQL', async (t) => {
    t.equal(await statusOf(first, strict), 200)
    t.ok(await login(strict, username))
  })

  await t.test('strict answers 503 if a revocation does not reach the other servers, and refuses the token at once', async (t) => {
    const pending = await call('POST', '/auth/logout', { token: first })
    t.equal(pending.statusCode, 503)
    t.equal(pending.json().code, 'FST_TOKEN_AUTH_REVOCATION_PENDING')
    t.equal(await statusOf(first, strict), 401)
    t.equal((await call('DELETE', `/auth/sessions/${await sessionIdOf(second)}`, { token: third })).statusCode, 503)
    t.equal(await statusOf(second, strict), 401)
    await t.rejects(strict.tokenAuth.revokeUser((await createAndLogin()).id), { code: 'FST_TOKEN_AUTH_REVOCATION_PENDING' })
    const { username } = await createAndLogin()
    const changed = await call('POST', '/auth/change-password', { token: await login(strict, username), body: { currentPassword: PASSWORD, newPassword: 'it is in force' } })
    t.match(changed.json(), { statusCode: 503, code: 'FST_TOKEN_AUTH_PASSWORD_CHANGE_PENDING' })
    t.ok(await login(strict, username, 'it is in force'))
  })

  await t.test('bounded answers 2xx', async (t) => {
    const { username } = await createAndLogin()
    t.equal((await caller(bounded)('POST', '/auth/logout', { token: await login(bounded, username) })).statusCode, 204)
  })

  await t.test('onCacheError is called, without keys', async (t) => {
    await until(() => failures.length > 0, 'a cacheError event')
    t.notMatch(failures.map(({ error }) => JSON.stringify(error) + error.message).join(), /t:[\w-]{43}/)
  })

  await redis.start()
  await until(async () => (await strict.tokenAuth.health()).cache === 'up', 'the cache is trusted again')

  await t.test('a retry is answered 2xx once Redis is back, and the tombstones are written without a retry', async (t) => {
    t.equal((await call('POST', '/auth/logout', { token: first })).statusCode, 204)
    t.equal((await call('DELETE', `/auth/sessions/${await sessionIdOf(second)}`, { token: third })).statusCode, 404, 'finished in the background')
    t.equal(await statusOf(third, strict), 200)
  })

  await t.test('a frozen Redis delays requests by its timeout, then no longer, and is used again', async (t) => {
    redis.freeze()
    t.teardown(redis.thaw)
    const pending = await Promise.all([call('POST', '/auth/logout-all', { token: fourth }), statusOf(third, strict)])
    t.equal(pending[0].statusCode, 503)
    for (let i = 0; i < 20; i++) t.equal(await statusOf(third, strict), 401)
    redis.thaw()
    await until(async () => (await strict.tokenAuth.health()).cache === 'up', 'the cache is used again')
    t.equal((await call('POST', '/auth/logout-all', { token: fourth })).statusCode, 204, 'finishes what was pending')
  })

  await t.test('health detects by itself that a Redis which hung answers again', async (t) => {
    const token = await login(strict, (await createUser(strict)).username)
    const misses = () => failures.filter(({ operation }) => operation === 'get').length
    redis.freeze()
    t.teardown(redis.thaw)
    for (let i = 0; i < 5; i++) t.equal(await statusOf(token, strict), 200)
    const before = misses()
    // On a slow machine the silent connection is replaced before the first probe.
    await until(async () => (await strict.tokenAuth.health()).cache === 'down' || misses() > before, 'a health check has failed')
    redis.thaw()
    await until(async () => (await strict.tokenAuth.health()).cache === 'up', 'it is used again')
    t.equal(await statusOf(token, strict), 200)
  })

  async function createAndLogin () {
    const user = await createUser(strict)
    await login(strict, user.username)
    return user
  }

  async function sessionIdOf (token: string): Promise<string> {
    const { rows: [row] } = await pool.query('select id from auth_tokens where digest = sha256($1)', [Buffer.from(token)])
    return row.id
  }
  t.equal((await strict.tokenAuth.listSessions(id)).length, 0)
})

t.test('a login that cannot revoke the session it displaces returns no token', async (t) => {
  const redis = await createRedisServer(t)
  await redis.start()
  const host = await createApp(t, testOptions(database.url, { redis: { url: redis.url }, token: { maxPerUser: 1 } }))
  const { id, username } = await createUser(host)
  await login(host, username)
  await redis.kill()
  await until(async () => (await host.tokenAuth.health()).cache === 'down', 'the loss is seen')
  const reply = await caller(host)('POST', '/auth/login', { body: { username, password: PASSWORD } })
  t.equal(reply.json().code, 'FST_TOKEN_AUTH_REVOCATION_PENDING')
  await t.rejects(host.tokenAuth.issueToken((await createFull(host)).id), { code: 'FST_TOKEN_AUTH_REVOCATION_PENDING' })
  t.same(await host.tokenAuth.listSessions(id), [])
  t.ok(await login(host, username), 'no session is displaced any more')
})

/** A user with the maximum number of sessions. */
async function createFull (host: typeof app) {
  const user = await createUser(host)
  await login(host, user.username)
  return user
}

t.test('nothing is left open when the server closes', async (t) => {
  const host = Fastify()
  await host.register(authPlugin, options)
  await host.ready()
  await host.close()
  await t.rejects(host.tokenAuth.listSessions(UUID))
})
