import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { digestOf } from '../../lib/crypto/token.js'
import { authPlugin } from '../../lib/index.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool } = countingPool(t, database.url)
const app = await createApp(t, testOptions(database.url))
const inProcess = await createApp(t, { ...testOptions(database.url), redis: null as never })
const call = caller(app)

const NEW_PASSWORD = 'another horse, another battery'
const UUID = '00000000-0000-4000-8000-000000000000'

async function statusOf (token: string, on = app): Promise<number> {
  return (await caller(on)('GET', '/protected', { token })).statusCode
}

/** A user with two sessions, both in the cache. */
async function twoSessions (on: FastifyInstance) {
  const user = await createUser(on)
  const tokens = [await login(on, user.username), await login(on, user.username)] as const
  for (const token of tokens) t.equal(await statusOf(token, on), 200)
  return { user, tokens }
}

t.test('POST /login', async (t) => {
  const { id, username } = await createUser(app)

  await t.test('returns a token, its expiry and the user, and saves the last login', async (t) => {
    const reply = await call('POST', '/auth/login', { body: { username, password: PASSWORD }, headers: { 'user-agent': 'test/1' } })
    t.equal(reply.statusCode, 200)
    const { token, expiresAt, user } = reply.json()
    t.match(token, /^fta_[\w-]{43}[0-9A-Za-z]{6}$/)
    t.match(expiresAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    t.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 30 * 86_400_000) < 60_000)
    t.same(user, { id, username })
    t.same(Object.keys(reply.json()), ['token', 'expiresAt', 'user'])
    const { rows: [row] } = await pool.query('select u.last_login, t.* from users u join auth_tokens t on t.user_id = u.id where u.id = $1', [id])
    t.same(row.last_login, row.created_at, 'one transaction, one now()')
    t.equal(row.digest.toString('base64url'), digestOf(token))
    t.equal(row.user_agent, 'test/1')
    t.equal(row.ip, '127.0.0.1')
  })

  await t.test('answers wrong passwords and unknown, inactive and password-less users with the same bytes', async (t) => {
    const inactive = await createUser(app)
    await app.tokenAuth.setActive(inactive.id, false)
    const unusable = await app.tokenAuth.createUser({ username: 'no-password', password: null })
    const attempts = [[username, 'wrong password'], ['nobody', PASSWORD], [inactive.username, PASSWORD], [unusable.username, PASSWORD]]
    const replies = await Promise.all(attempts.map(async ([username, password]) => await call('POST', '/auth/login', { body: { username, password } })))
    for (const reply of replies) {
      t.equal(reply.statusCode, 401)
      t.equal(reply.json().code, 'FST_TOKEN_AUTH_INVALID_CREDENTIALS')
      t.equal(reply.headers['www-authenticate'], 'Bearer realm="api"')
      t.equal(reply.body, replies[0]!.body)
      t.same(Object.keys(reply.headers), Object.keys(replies[0]!.headers))
    }
  })

  await t.test('refuses bodies that do not match the schema, without coercion', async (t) => {
    const bad: unknown[] = [
      { username }, { password: PASSWORD }, {}, [], 'text', null, 7,
      { username, password: 123 }, { username: [username], password: PASSWORD }, { username, password: true }, { username, password: null },
      { username, password: PASSWORD, remember: true }, { username, password: PASSWORD, captchaToken: 'x' },
      { username: '', password: PASSWORD }, { username, password: '' }, { username: 'x'.repeat(255), password: PASSWORD }, { username, password: 'x'.repeat(1025) },
      { username: 'a\0b', password: PASSWORD }, { username, password: 'a\0b' }, { username: '\ufffd', password: PASSWORD }, { username, password: '\ufffd' }
    ]
    const texts = ['{', '{"username":"a","password":"\\ud800"}', '{"username":"\\udfff","password":"b"}', '{"__proto__":{"a":1},"username":"a","password":"b"}', '']
    for (const payload of [...bad.map((body) => JSON.stringify(body)), ...texts]) {
      const reply = await app.inject({ method: 'POST', url: '/auth/login', payload, headers: { 'content-type': 'application/json' } })
      t.equal(reply.statusCode, 400, payload.slice(0, 80))
      t.match(reply.json(), { statusCode: 400, error: 'Bad Request', code: /^FST_/ })
    }
  })

  await t.test('refuses other content types with 415, and bodies over 16 KiB with 413', async (t) => {
    const payload = JSON.stringify({ username, password: PASSWORD })
    const statusFor = async (contentType: string, body = payload) =>
      (await app.inject({ method: 'POST', url: '/auth/login', payload: body, headers: { 'content-type': contentType } })).statusCode
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json-patch', 'application/json garbage', 'multipart/form-data; boundary=x']) {
      t.equal(await statusFor(type), 415, type)
    }
    for (const type of ['application/json', 'ApPlIcAtIoN/JsOn', 'application/json; charset=utf-8', 'application/json ;']) t.equal(await statusFor(type), 200, type)
    t.equal(await statusFor('ApPlIcAtIoN/JsOn ;', '{"username":["a"],"password":"b"}'), 400)
    t.equal(await statusFor('application/json', JSON.stringify({ username, password: 'x'.repeat(20_000) })), 413)
  })

  await t.test('ignores a token in the header', async (t) => {
    const token = await login(app, username)
    t.equal((await call('POST', '/auth/login', { token, body: { username, password: 'wrong password' } })).statusCode, 401)
    t.equal((await call('POST', '/auth/login', { token: 'garbage', body: { username, password: PASSWORD } })).statusCode, 200)
  })

  await t.test('reads no credentials from the query', async (t) => {
    t.equal((await call('POST', `/auth/login?username=${username}&password=${encodeURIComponent(PASSWORD)}`, { body: {} })).statusCode, 400)
  })
})

for (const [name, on] of [['Redis', app], ['the in-process cache', inProcess]] as const) {
  t.test(`with ${name}`, async (t) => {
    const call = caller(on)

    await t.test('GET /me and HEAD /me return the user and the session', async (t) => {
      const { user, tokens: [token] } = await twoSessions(on)
      for (let i = 0; i < 2; i++) {
        const reply = await call('GET', '/auth/me', { token })
        t.equal(reply.statusCode, 200)
        t.match(reply.json(), { user: { id: user.id, username: user.username }, session: { id: /^[0-9a-f-]{36}$/, scopes: null } })
      }
      t.equal((await call('HEAD', '/auth/me', { token })).statusCode, 200)
      t.equal((await call('HEAD', '/auth/me')).statusCode, 401)
    })

    await t.test('POST /logout ends only this session, and a repeated call gets the same answer', async (t) => {
      const { tokens: [token, other] } = await twoSessions(on)
      t.equal((await call('POST', '/auth/logout', { token })).statusCode, 204)
      t.equal(await statusOf(token, on), 401)
      t.equal(await statusOf(other, on), 200)
      t.equal((await call('POST', '/auth/logout', { token })).statusCode, 204)
      t.equal((await call('POST', '/auth/logout', { token: other, headers: { 'content-type': 'application/json' } })).statusCode, 204, 'an empty body with a content type')
    })

    await t.test('POST /logout-all ends every session of this user, and of no other user', async (t) => {
      const [mine, others] = [await twoSessions(on), await twoSessions(on)]
      t.equal((await call('POST', '/auth/logout-all', { token: mine.tokens[0] })).statusCode, 204)
      for (const token of mine.tokens) t.equal(await statusOf(token, on), 401)
      for (const token of others.tokens) t.equal(await statusOf(token, on), 200)
    })

    await t.test('POST /logout-all with a revoked token ends no newer session', async (t) => {
      const { user, tokens: [token, second] } = await twoSessions(on)
      await call('POST', '/auth/logout', { token: second })
      t.equal((await call('POST', '/auth/logout-all', { token: second })).statusCode, 401)
      t.equal((await call('POST', '/auth/logout-all', { token })).statusCode, 204)
      const newer = await login(on, user.username)
      t.equal((await call('POST', '/auth/logout-all', { token })).statusCode, 204, 'a retry of the call that revoked it')
      t.equal(await statusOf(newer, on), 200)
    })

    await t.test('POST /change-password ends every session and starts a new one', async (t) => {
      const { user: { username }, tokens: [token, other] } = await twoSessions(on)
      const reply = await call('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: NEW_PASSWORD } })
      t.equal(reply.statusCode, 200)
      for (const old of [token, other]) t.equal(await statusOf(old, on), 401)
      t.equal(await statusOf(reply.json().token, on), 200)
      t.equal((await call('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode, 401)
      t.equal((await call('POST', '/auth/login', { body: { username, password: NEW_PASSWORD } })).statusCode, 200)
    })

    await t.test('GET /sessions lists them, DELETE /sessions/:id ends one of the user\'s own', async (t) => {
      const [mine, others] = [await twoSessions(on), await twoSessions(on)]
      const [token, other] = mine.tokens
      const list = (await call('GET', '/auth/sessions', { token })).json().sessions
      t.equal(list.length, 2)
      t.equal(list.filter(({ current }: { current: boolean }) => current).length, 1)
      t.same(Object.keys(list[0]).sort(), ['createdAt', 'current', 'expiresAt', 'id', 'ip', 'label', 'lastUsedAt', 'scopes', 'userAgent'])
      const { id } = list.find(({ current }: { current: boolean }) => !current)
      t.equal((await call('DELETE', `/auth/sessions/${id}`, { token: others.tokens[0] })).statusCode, 404, 'a session of another user')
      t.equal((await call('DELETE', `/auth/sessions/${id}`, { token })).statusCode, 204)
      t.equal(await statusOf(other, on), 401)
      t.equal((await call('GET', '/auth/sessions', { token })).json().sessions.length, 1)
      for (const gone of [id, UUID, 'not-an-id', '%00', encodeURIComponent('\' or 1=1')]) {
        t.equal((await call('DELETE', `/auth/sessions/${gone}`, { token })).statusCode, 404, gone)
      }
    })
  })
}

t.test('POST /change-password', async (t) => {
  const { tokens: [token, other] } = await twoSessions(app)
  const change = async (body: object) => await call('POST', '/auth/change-password', { token, body })

  await t.test('names the rule that a new password violates', async (t) => {
    const username = 'someone-with-a-name'
    await createUser(app, username)
    const own = await login(app, username)
    const codeFor = async (newPassword: string) => (await call('POST', '/auth/change-password', { token: own, body: { currentPassword: PASSWORD, newPassword } })).json().code
    t.equal(await codeFor('short'), 'FST_TOKEN_AUTH_PASSWORD_TOO_SHORT')
    t.equal(await codeFor('🔑'.repeat(7)), 'FST_TOKEN_AUTH_PASSWORD_TOO_SHORT', 'code points count, not code units')
    t.equal(await codeFor(username.toUpperCase()), 'FST_TOKEN_AUTH_PASSWORD_HAS_USERNAME')
    t.equal(await codeFor(PASSWORD), 'FST_TOKEN_AUTH_PASSWORD_UNCHANGED')
  })

  await t.test('answers 403 to a wrong current password, and changes nothing', async (t) => {
    const reply = await change({ currentPassword: 'wrong password', newPassword: NEW_PASSWORD })
    t.equal(reply.statusCode, 403)
    t.equal(reply.json().code, 'FST_TOKEN_AUTH_WRONG_PASSWORD')
    for (const live of [token, other]) t.equal(await statusOf(live), 200)
  })

  await t.test('refuses bodies that do not match the schema, and requests without a token', async (t) => {
    for (const body of [{}, { currentPassword: PASSWORD }, { currentPassword: PASSWORD, newPassword: 5 }, { currentPassword: PASSWORD, newPassword: NEW_PASSWORD, more: 1 }]) {
      t.equal((await change(body)).statusCode, 400)
    }
    t.equal((await call('POST', '/auth/change-password', { body: {} })).statusCode, 401)
  })

  await t.test('accepts only one of two concurrent changes', async (t) => {
    const { user: { username }, tokens } = await twoSessions(app)
    const passwords = ['the first new password', 'the second new password']
    const replies = await Promise.all(passwords.map(async (newPassword, i) =>
      await call('POST', '/auth/change-password', { token: tokens[i]!, body: { currentPassword: PASSWORD, newPassword } })))
    const winners = replies.filter(({ statusCode }) => statusCode === 200)
    t.equal(winners.length, 1)
    t.ok([401, 403].includes(replies.find((reply) => reply !== winners[0])!.statusCode))
    t.equal(await statusOf(winners[0]!.json().token), 200)
    t.equal((await call('POST', '/auth/login', { body: { username, password: passwords[replies.indexOf(winners[0]!)] } })).statusCode, 200)
  })
})

t.test('every authenticated route refuses a request without a valid token', async (t) => {
  const routes = [['POST', '/auth/logout'], ['POST', '/auth/logout-all'], ['POST', '/auth/change-password'], ['GET', '/auth/me'], ['GET', '/auth/sessions'], ['DELETE', `/auth/sessions/${UUID}`]] as const
  for (const [method, url] of routes) {
    const missing = await call(method, url)
    t.match(missing, { statusCode: 401, headers: { 'www-authenticate': 'Bearer realm="api"' } }, `${method} ${url}`)
    t.equal(missing.json().code, 'FST_TOKEN_AUTH_UNAUTHENTICATED')
    const garbage = await call(method, url, { token: 'garbage' })
    t.match(garbage, { statusCode: 401, headers: { 'www-authenticate': 'Bearer realm="api", error="invalid_token"' } })
    const twice = await app.inject({ method, url, headers: { authorization: ['Bearer a', 'Bearer b'] as never } })
    t.ok([400, 401].includes(twice.statusCode))
  }
})

t.test('a route answers 404 to another method', async (t) => {
  for (const [method, url] of [['GET', '/auth/login'], ['GET', '/auth/logout'], ['POST', '/auth/me'], ['DELETE', '/auth/sessions']] as const) {
    t.equal((await app.inject({ method, url })).statusCode, 404, `${method} ${url}`)
  }
})

t.test('the oldest session ends when a user exceeds maxPerUser', async (t) => {
  const small = await createApp(t, testOptions(database.url, { token: { maxPerUser: 2 } }))
  const { username } = await createUser(small)
  const tokens = [await login(small, username), await login(small, username)]
  for (const token of tokens) t.equal(await statusOf(token, small), 200)
  const third = await login(small, username)
  t.same(await Promise.all([...tokens, third].map(async (token) => await statusOf(token, small))), [401, 200, 200])
  const many = await Promise.all(Array.from({ length: 8 }, async () => await login(small, username)))
  const statuses = await Promise.all(many.map(async (token) => await statusOf(token, small)))
  t.equal(statuses.filter((status) => status === 200).length, 2, 'also with concurrent logins')
})

t.test('the routes are served under the prefix', async (t) => {
  const other = await createApp(t, testOptions(database.url, { prefix: '/api/v1', realm: 'orders' }))
  t.equal((await other.inject({ url: '/api/v1/me' })).headers['www-authenticate'], 'Bearer realm="orders"')
  t.equal((await other.inject({ url: '/auth/me' })).statusCode, 404)
})

t.test('the host\'s error handler answers, with the plugin\'s headers', async (t) => {
  const host = await createApp(t, testOptions(database.url), {
    routes: (app) => { app.setErrorHandler((error: Error & { code?: string, statusCode?: number }, _request, reply) => reply.code(error.statusCode ?? 500).send({ mine: error.code })) }
  })
  const login = await host.inject({ method: 'POST', url: '/auth/login', payload: { username: 'a', password: 'b' } })
  t.equal(login.statusCode, 401)
  t.match(login.headers['www-authenticate'], /^Bearer/)
  const own = await host.inject({ url: '/protected' })
  t.same(own.json(), { mine: 'FST_TOKEN_AUTH_UNAUTHENTICATED' })
  t.match(own.headers['www-authenticate'], /^Bearer/)
})

t.test('the host\'s lenient validator and body limit don\'t apply to the routes', async (t) => {
  const host = await createApp(t, testOptions(database.url), { server: { ajv: { customOptions: { coerceTypes: 'array', removeAdditional: 'all' } }, bodyLimit: 10_000_000 } })
  const { username } = await createUser(host)
  for (const body of [{ username: [username], password: PASSWORD }, { username, password: PASSWORD, extra: 1 }]) {
    t.equal((await caller(host)('POST', '/auth/login', { body })).statusCode, 400)
  }
})

t.test('last uses are written in one statement per interval, and the rest when the server closes', async (t) => {
  const counted = countingPool(t, database.url)
  const host = await createApp(t, testOptions(database.url, { database: counted.pool, token: { touchInterval: 100 } }))
  const { id, username } = await createUser(host)
  const tokens = [await login(host, username), await login(host, username)]
  await pool.query('update auth_tokens set last_used_at = now() - interval \'1 hour\' where user_id = $1', [id])
  const touches = () => counted.statements.filter((statement) => /set last_used_at/.test(statement)).length
  const stale = async () => (await pool.query('select 1 from auth_tokens where user_id = $1 and last_used_at < now() - interval \'5 minutes\'', [id])).rows.length
  const startedAt = performance.now()
  for (let i = 0; i < 20; i++) for (const token of tokens) await statusOf(token, host)
  await until(async () => await stale() === 0, 'the uses are written')
  t.ok(touches() <= 1 + (performance.now() - startedAt) / 100, `${touches()} statements for 40 requests`)

  await host.close()
  const slow = await createApp(t, testOptions(database.url))
  await pool.query('update auth_tokens set last_used_at = now() - interval \'1 hour\' where user_id = $1', [id])
  await statusOf(tokens[0]!, slow)
  t.equal(await stale(), 2)
  await slow.close()
  t.equal(await stale(), 1)
})

t.test('POST /logout-all with an idle session\'s token is refused each time, and ends nothing', async (t) => {
  const host = await createApp(t, testOptions(database.url, { token: { idleTtl: '60s' } }))
  const { tokens: [idle, live] } = await twoSessions(host)
  await pool.query('update auth_tokens set last_used_at = now() - interval \'61 seconds\' where digest = $1', [Buffer.from(digestOf(idle), 'base64url')])
  for (let i = 0; i < 2; i++) t.equal((await caller(host)('POST', '/auth/logout-all', { token: idle })).statusCode, 401)
  t.equal(await statusOf(live, host), 200)
})

t.test('a token without the scope auth cannot manage sessions or the password, but can always log itself out', async (t) => {
  const { id } = await createUser(app)
  const limited = (await app.tokenAuth.issueToken(id, { scopes: ['orders'] })).token
  const managing = (await app.tokenAuth.issueToken(id, { scopes: ['auth'] })).token
  const body = { currentPassword: PASSWORD, newPassword: NEW_PASSWORD }
  const routes = [['GET', '/auth/sessions'], ['DELETE', `/auth/sessions/${UUID}`], ['POST', '/auth/change-password', body], ['POST', '/auth/logout-all']] as const
  for (const [method, url, body] of routes) {
    const reply = await call(method, url, { token: limited, ...(body === undefined ? {} : { body }) })
    t.equal(reply.statusCode, 403, url)
    t.equal(reply.json().code, 'FST_TOKEN_AUTH_INSUFFICIENT_SCOPE')
    t.equal(reply.headers['www-authenticate'], 'Bearer realm="api", error="insufficient_scope", scope="auth"', url)
  }
  t.equal((await call('GET', '/auth/me', { token: limited })).statusCode, 200)
  t.equal((await call('POST', '/auth/logout', { token: limited })).statusCode, 204)
  t.equal((await call('GET', '/auth/sessions', { token: managing })).statusCode, 200)
  t.equal((await call('POST', '/auth/logout-all', { token: managing })).statusCode, 204)
})

t.test('change-password returns a token with the scopes and label of the old one; a login\'s token stays without', async (t) => {
  const { id, username } = await createUser(app)
  const NEXT = 'yet another long password'
  const { token } = await app.tokenAuth.issueToken(id, { scopes: ['auth', 'orders'], label: 'robot' })
  const change = async (token: string, currentPassword: string, newPassword: string) => (await call('POST', '/auth/change-password', { token, body: { currentPassword, newPassword } })).json().token
  const limited = await change(token, PASSWORD, NEW_PASSWORD)
  for (let i = 0; i < 2; i++) t.same((await call('GET', '/auth/me', { token: limited })).json().session.scopes, ['auth', 'orders'])
  t.match(await app.tokenAuth.listSessions(id), [{ label: 'robot', scopes: ['auth', 'orders'] }])
  const again = await change(limited, NEW_PASSWORD, NEXT)
  t.same((await call('GET', '/auth/me', { token: again })).json().session.scopes, ['auth', 'orders'])
  const free = await change(await login(app, username, NEXT), NEXT, PASSWORD)
  t.equal((await call('GET', '/auth/me', { token: free })).json().session.scopes, null)
  t.match(await app.tokenAuth.listSessions(id), [{ label: null, scopes: null }])
})

t.test('an idle session expires, and one in use does not', async (t) => {
  const host = await createApp(t, testOptions(database.url, { token: { idleTtl: '1h', touchInterval: '1h' } }))
  const { id, username } = await createUser(host)
  const [used, idle] = [await login(host, username), await login(host, username)]
  const unusedFor = async (minutes: number, token: string) => {
    await pool.query(`update auth_tokens set last_used_at = now() - ${minutes} * interval '1 minute' where digest = $1`, [Buffer.from(digestOf(token), 'base64url')])
  }
  await unusedFor(61, idle)
  t.equal(await statusOf(idle, host), 401)
  t.equal((await host.tokenAuth.listSessions(id)).length, 1)
  await unusedFor(50, used)
  t.equal(await statusOf(used, host), 200, 'before it would expire')
  await until(async () => (await pool.query('select 1 from auth_tokens where user_id = $1 and last_used_at > now() - interval \'10 minutes\'', [id])).rows.length === 1,
    'a use close to the limit is written at once')
  t.equal(await statusOf(used, host), 200)
})
const bytesOf = (token: string) => Buffer.from(digestOf(token), 'base64url')

t.test('a host with a Swagger 2.0 document gets the routes too', async (t) => {
  const host = Fastify()
  t.teardown(() => host.close())
  await host.register(swagger, { swagger: { securityDefinitions: { bearerToken: { type: 'apiKey', name: 'authorization', in: 'header' } } } })
  await host.register(authPlugin, testOptions(database.url))
  await host.ready()
  t.ok((host.swagger() as { paths: object }).paths['/auth/login' as never])
})

t.test('POST /logout refuses an unissued token and accepts a revoked one', async (t) => {
  const { create } = (await import('../../lib/crypto/token.js')).createTokenFormat({ prefix: 'fta', randomBytes: (await import('node:crypto')).randomBytes })
  t.equal((await caller(app)('POST', '/auth/logout', { token: create() })).statusCode, 401, 'of a token that was never issued')
  const { username } = await createUser(app)
  const token = await login(app, username)
  await caller(app)('POST', '/auth/logout', { token })
  await pool.query('update auth_tokens set revoked_at = now() - interval \'1 day\' where digest = $1', [bytesOf(token)])
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204, 'of a token that was revoked long ago')
})
