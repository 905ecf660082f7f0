import { once } from 'node:events'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import fastifyAuth from '@fastify/auth'
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { authenticate as imported } from '../../lib/index.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool, statements } = countingPool(t, database.url)

const echo = async ({ user, auth }: { user: unknown, auth: unknown }) => ({ user, auth })

async function withToken (app: FastifyInstance): Promise<{ token: string, user: { id: string | number, username: string } }> {
  const user = await createUser(app)
  return { user, token: await login(app, user.username) }
}

t.test('works in every supported hook, inside @fastify/auth, awaited, and in encapsulated scopes', async (t) => {
  const app = await createApp(t, testOptions(database.url), {
    async routes (app) {
      await app.register(fastifyAuth)
      app.get('/onRequest', { onRequest: app.authenticate }, echo)
      app.get('/preValidation', { preValidation: [app.authenticate] }, echo)
      app.get('/preHandler', { preHandler: app.authenticate }, echo)
      app.get('/either', { onRequest: app.auth([async () => { throw new Error('not this way') }, app.authenticate]) }, echo)
      app.get('/both', { onRequest: app.auth([app.authenticate, (_request, _reply, done) => done()], { relation: 'and' }) }, echo)
      app.get('/awaited', { onRequest: async (request, reply) => { await app.authenticate(request, reply) } }, echo)
      await app.register(async (scope) => {
        scope.addHook('onRequest', scope.authenticate)
        scope.get('/scoped', echo)
      })
      app.get('/open', echo)
    }
  })
  const { token, user } = await withToken(app)
  for (const path of ['onRequest', 'preValidation', 'preHandler', 'either', 'both', 'awaited', 'scoped']) {
    const good = await caller(app)('GET', `/${path}`, { token })
    t.match(good.json(), { user, auth: { sessionId: /^[0-9a-f-]{36}$/, scopes: null } }, path)
    for (const headers of [{}, { authorization: 'Bearer garbage' }]) {
      const refused = await app.inject({ url: `/${path}`, headers })
      t.equal(refused.statusCode, 401, path)
      t.match(refused.headers['www-authenticate'], /^Bearer realm="api"/)
    }
  }
  t.same((await caller(app)('GET', '/open', { token })).json(), { user: null, auth: null })
})

t.test('reads the Authorization header and nothing else', async (t) => {
  const app = await createApp(t, testOptions(database.url), { routes: (app) => { app.post('/post', { preHandler: app.authenticate }, echo) } })
  const { token } = await withToken(app)
  const statusFor = async (authorization: string) => (await app.inject({ url: '/protected', headers: { authorization } })).statusCode
  for (const good of [`Bearer ${token}`, `bearer ${token}`, `BEARER ${token}`, `Token ${token}`, `token ${token}`, `Bearer   ${token}`]) t.equal(await statusFor(good), 200, good.slice(0, 12))
  const bad = [token, `Basic ${token}`, 'Bearer', 'Bearer ', `Bearer ${token}x`, `Bearer ${token.slice(0, -1)}`, `Bearer ${token} ${token}`, `Bearer "${token}"`,
    `Bearer ${token.replace('fta_', 'ftb_')}`, `Bearer ${token.slice(0, -7)}é${token.slice(-6)}`, `Bearer,${token}`, `Bearer\t${token}`, `Bearer ${'x'.repeat(8000)}`, 'null', 'Bearer undefined', `BearerToken ${token}`]
  for (const text of bad) t.equal(await statusFor(text), 401, text.slice(0, 12))
  t.equal((await app.inject({ url: `/protected?access_token=${token}&token=${token}` })).statusCode, 401)
  t.equal((await app.inject({ url: '/protected', headers: { cookie: `token=${token}`, 'x-access-token': token, 'proxy-authorization': `Bearer ${token}` } })).statusCode, 401)
  t.equal((await app.inject({ method: 'POST', url: '/post', payload: { access_token: token } })).statusCode, 401)
})

t.test('accepts only the schemes in the option schemes', async (t) => {
  const app = await createApp(t, testOptions(database.url, { schemes: ['Bearer'] }))
  const { token } = await withToken(app)
  t.equal((await app.inject({ url: '/protected', headers: { authorization: `Token ${token}` } })).statusCode, 401)
  t.equal((await app.inject({ url: '/protected', headers: { authorization: `Bearer ${token}` } })).statusCode, 200)
  const tokenOnly = await createApp(t, testOptions(database.url, { schemes: ['Token'] }))
  t.equal((await tokenOnly.inject({ url: '/protected' })).headers['www-authenticate'], 'Token realm="api"')
})

t.test('answers 400 to two Authorization headers, although Node.js exposes only the first', async (t) => {
  const app = await createApp(t, testOptions(database.url))
  const { token } = await withToken(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const statusFor = async (lines: string[]) => {
    const socket = connect(port, '127.0.0.1')
    socket.write(['GET /protected HTTP/1.1', 'Host: x', 'Connection: close', ...lines, '', ''].join('\r\n'))
    const [reply] = await once(socket, 'data')
    return String(reply).split('\r\n')[0]
  }
  t.equal(await statusFor([`Authorization: Bearer ${token}`]), 'HTTP/1.1 200 OK')
  t.equal(await statusFor([`Authorization: Bearer ${token}`, 'authorization: Bearer other']), 'HTTP/1.1 400 Bad Request')
  t.equal(await statusFor([`AUTHORIZATION: Bearer ${token}`, `authorization: Bearer ${token}`]), 'HTTP/1.1 400 Bad Request')
  t.equal(await statusFor(['Connection: authorization', 'Authorization: Bearer x']), 'HTTP/1.1 401 Unauthorized')
})

t.test('with({ optional }) accepts requests without a token, but not those with an invalid one', async (t) => {
  const app = await createApp(t, testOptions(database.url), { routes: (app) => { app.get('/maybe', { onRequest: app.authenticate.with({ optional: true }) }, echo) } })
  const { token, user } = await withToken(app)
  const call = caller(app)
  t.same((await call('GET', '/maybe')).json(), { user: null, auth: null })
  t.match((await call('GET', '/maybe', { token })).json(), { user })
  t.equal((await call('GET', '/maybe', { token: 'garbage' })).statusCode, 401)
})

t.test('with({ fresh }) detects a change in SQL that the cache does not have', async (t) => {
  const app = await createApp(t, testOptions(database.url, { database: pool }), { routes: (app) => { app.get('/fresh', { onRequest: app.authenticate.with({ fresh: true }) }, echo) } })
  const { token, user } = await withToken(app)
  const call = caller(app)
  t.equal((await call('GET', '/protected', { token })).statusCode, 200)
  statements.length = 0
  t.equal((await call('GET', '/fresh', { token })).statusCode, 200)
  t.equal(statements.length, 1)
  await pool.query('update users set active = false where id = $1', [user.id])
  t.equal((await call('GET', '/fresh', { token })).statusCode, 401)
})

t.test('with({ scopes }) requires all of them from a token with scopes; a login\'s token is not limited', async (t) => {
  const app = await createApp(t, testOptions(database.url), {
    routes: (app) => { app.get('/orders', { onRequest: app.authenticate.with({ scopes: ['orders:read', 'orders:write'] }) }, echo) }
  })
  const { token, user } = await withToken(app)
  const call = caller(app)
  const issue = async (scopes: string[]) => (await app.tokenAuth.issueToken(user.id, { scopes, label: 'robot' })).token
  t.equal((await call('GET', '/orders', { token })).statusCode, 200)
  const full = await issue(['orders:write', 'x', 'orders:read'])
  for (let i = 0; i < 2; i++) t.same((await call('GET', '/orders', { token: full })).json().auth.scopes, ['orders:write', 'x', 'orders:read'])
  for (const scopes of [[], ['orders:read']]) {
    const reply = await call('GET', '/orders', { token: await issue(scopes) })
    t.equal(reply.statusCode, 403)
    t.equal(reply.json().code, 'FST_TOKEN_AUTH_INSUFFICIENT_SCOPE')
    t.equal(reply.headers['www-authenticate'], 'Bearer realm="api", error="insufficient_scope", scope="orders:read orders:write"')
  }
})

t.test('a token with scopes is refused by routes without scopes, and accepted by routes with scopes: any', async (t) => {
  const routes = (app: FastifyInstance) => {
    app.get('/open', { onRequest: app.authenticate.with({ scopes: 'any' }) }, echo)
    app.get('/fresh', { onRequest: app.authenticate.with({ fresh: true }) }, echo)
    app.get('/optional', { onRequest: app.authenticate.with({ optional: true }) }, echo)
  }
  const app = await createApp(t, testOptions(database.url), { routes })
  const { user, token } = await withToken(app)
  const call = caller(app)
  const limited = await app.tokenAuth.issueToken(user.id, { scopes: ['deploy'] })
  for (const path of ['/protected', '/fresh', '/optional']) {
    const reply = await call('GET', path, { token: limited.token })
    t.match(reply.json(), { statusCode: 403, code: 'FST_TOKEN_AUTH_INSUFFICIENT_SCOPE' }, path)
    t.equal(reply.headers['www-authenticate'], 'Bearer realm="api", error="insufficient_scope"')
    t.equal((await call('GET', path, { token })).statusCode, 200, path)
  }
  for (const mine of [limited.token, token]) t.equal((await call('GET', '/open', { token: mine })).statusCode, 200)
})

t.test('with() on a variant keeps the settings that it does not change', async (t) => {
  const app = await createApp(t, testOptions(database.url), {
    routes: (app) => { app.get('/limited', { onRequest: app.authenticate.with({ scopes: ['a'], optional: true }).with({ fresh: true }) }, echo) }
  })
  const { user } = await withToken(app)
  const { token } = await app.tokenAuth.issueToken(user.id, { scopes: ['b'] })
  t.equal((await caller(app)('GET', '/limited')).statusCode, 200)
  t.equal((await caller(app)('GET', '/limited', { token })).statusCode, 403)
})

t.test('with() rejects unknown settings and invalid values by name', async (t) => {
  const { authenticate } = await createApp(t, testOptions(database.url))
  const bad = { scope: ['a'], scopes: 'a', optional: 'yes', fresh: 1 }
  for (const [name, value] of Object.entries(bad)) t.throws(() => authenticate.with({ [name]: value }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: new RegExp(name) })
  for (const scopes of [[], ['with space'], ['"']]) t.throws(() => authenticate.with({ scopes }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION' })
})

t.test('with() rejects what is not an object of settings', async (t) => {
  const { authenticate } = await createApp(t, testOptions(database.url))
  const bad: [unknown, string][] = [[undefined, 'undefined'], [null, 'null'], [5, '5'], [[], 'an array'], [new Map([['fresh', true]]), 'an instance of Map'], [Object.create({ fresh: true }), 'an instance of Object']]
  for (const make of [authenticate.with, imported.with]) {
    for (const [value, got] of bad) t.throws(() => make(value as never), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `authenticate.with() must be called with an object such as { fresh: true }, got ${got}` })
  }
})

t.test('requests that share a lookup don\'t share request.user', async (t) => {
  const app = await createApp(t, testOptions(database.url), {
    routes: (app) => { app.get('/marking', { onRequest: app.authenticate }, async ({ user }) => { const marked = user as { marks?: number }; marked.marks = (marked.marks ?? 0) + 1; return marked }) }
  })
  const { token } = await withToken(app)
  const replies = await Promise.all(Array.from({ length: 20 }, async () => (await caller(app)('GET', '/marking', { token })).json()))
  t.ok(replies.every(({ marks }) => marks === 1))
})

t.test('protects the upgrade to a WebSocket', async (t) => {
  const app = await createApp(t, testOptions(database.url), {
    async routes (app) {
      await app.register(websocket)
      await app.register(async (scope) => {
        scope.get('/socket', { websocket: true, onRequest: scope.authenticate }, (socket, request) => { socket.send(request.user?.username ?? 'nobody') })
      })
    }
  })
  const { token, user } = await withToken(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const url = `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/socket`
  const open = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } })
  const [message] = await once(open, 'message')
  t.equal(String(message), user.username)
  open.terminate()
  const injected = await app.injectWS('/socket', { headers: { authorization: `Bearer ${token}` } })
  injected.terminate()
  const refused = new WebSocket(url)
  const [error] = await once(refused, 'error')
  t.match(error.message, '401')
})
