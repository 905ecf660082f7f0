import fastifyAuth from '@fastify/auth'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import authPlugin, { authenticate, requireUser } from '../../lib/index.js'
import type { Authenticate, TokenAuth } from '../../lib/index.js'
import { createUser, PASSWORD, testOptions } from '../helpers/app.js'
import { refusal } from '../helpers/start.js'
import { createDatabase, query } from '../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

// Imported by variable names, so that the types of these packages do not change request.user in every test.
const [jwt, passport] = await Promise.all(['@fastify/jwt', '@fastify/passport'].map(async (name) => (await import(name)).default))

const named = <Value>(owner: object, name: string) => (owner as Record<string, Value>)[name] as Value

function start (t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

async function logIn (app: FastifyInstance, tokenAuth: TokenAuth, prefix = '/auth'): Promise<{ id: string | number, username: string, token: string }> {
  const { id, username } = await createUser({ tokenAuth } as FastifyInstance)
  const reply = await app.inject({ method: 'POST', url: `${prefix}/login`, payload: { username, password: PASSWORD } })
  return { id, username, token: reply.json().token }
}

const withToken = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })

t.test('each decorator can be renamed', async (t) => {
  const decorators = { authenticate: 'checkToken', tokenAuth: 'accounts', user: 'account', auth: 'visit' }
  const app = start(t)
  await app.register(authPlugin, testOptions(database.url, { decorators }))
  for (const name of ['authenticate', 'tokenAuth']) t.notOk(app.hasDecorator(name))
  for (const name of ['user', 'auth']) t.notOk(app.hasRequestDecorator(name))
  app.get('/mine', { onRequest: named<Authenticate>(app, 'checkToken') }, async (request) => ({ account: named(request, 'account'), visit: named(request, 'visit'), user: requireUser(request) }))
  const { id, username, token } = await logIn(app, named<TokenAuth>(app, 'accounts'))
  t.match((await app.inject({ url: '/mine', ...withToken(token) })).json(), { account: { id, username }, visit: { scopes: null }, user: { id, username } })
  t.match((await app.inject({ url: '/auth/me', ...withToken(token) })).json(), { user: { id, username } })
  t.equal((await app.inject({ method: 'POST', url: '/auth/logout-all', ...withToken(token) })).statusCode, 204)
  t.equal((await app.inject({ url: '/mine', ...withToken(token) })).statusCode, 401)
})

t.test('two decorators of the same object must have different names', async (t) => {
  const code = 'FST_TOKEN_AUTH_INVALID_OPTION'
  t.match(await refusal(t, testOptions(database.url, { decorators: { authenticate: 'x', tokenAuth: 'x' } })), { code, message: 'decorators.tokenAuth must be another name than decorators.authenticate' })
  t.match(await refusal(t, testOptions(database.url, { decorators: { user: 'x', auth: 'x' } })), { code, message: 'decorators.auth must be another name than decorators.user' })
})

t.test('the plugin works with @fastify/jwt and @fastify/passport, registered before or after them', async (t) => {
  const decorators = { authenticate: 'authenticateToken', user: 'account' }
  const withPassport = async (app: FastifyInstance) => {
    app.decorateRequest('session' as never, null as never)
    await app.register(passport.initialize())
  }
  const withJwt = async (app: FastifyInstance) => {
    await app.register(jwt, { secret: 'a secret of the test' })
    // The types know this name as ours, which is renamed here, and do not have those of @fastify/jwt.
    app.decorate('authenticate' as never, (async (request: FastifyRequest) => { await (request as any).jwtVerify() }) as never)
  }
  const ours = async (app: FastifyInstance) => { await app.register(authPlugin, testOptions(database.url, { decorators })) }
  for (const order of [[withPassport, ours], [ours, withPassport]]) {
    const app = start(t)
    for (const register of order) await register(app)
    app.get('/token', { onRequest: named<Authenticate>(app, 'authenticateToken') }, async (request) => requireUser(request))
    const { username, token } = await logIn(app, app.tokenAuth)
    t.match((await app.inject({ url: '/token', ...withToken(token) })).json(), { username })
  }
  for (const order of [[withJwt, ours], [ours, withJwt]]) {
    const app = start(t)
    for (const register of order) await register(app)
    app.get('/jwt', { onRequest: app.authenticate }, async (request) => request.user)
    app.get('/token', { onRequest: named<Authenticate>(app, 'authenticateToken') }, async (request) => requireUser(request))
    const { username, token } = await logIn(app, app.tokenAuth)
    // The types do not have the decorators of @fastify/jwt.
    t.match((await app.inject({ url: '/jwt', ...withToken((app as any).jwt.sign({ sub: 'ann' })) })).json(), { sub: 'ann' })
    t.match((await app.inject({ url: '/token', ...withToken(token) })).json(), { username })
    t.equal((await app.inject({ url: '/jwt', ...withToken(token) })).statusCode, 401)
    t.equal((await app.inject({ url: '/token', ...withToken((app as any).jwt.sign({ sub: 'ann' })) })).statusCode, 401)
  }
})

t.test('two registrations work in one scope', async (t) => {
  const app = start(t)
  await query('create table customers (id bigint primary key generated always as identity, username text unique not null, password_hash text, active boolean not null default true, last_login timestamptz)', database.url)
  await app.register(authPlugin, testOptions(database.url, { prefix: '/staff' }))
  const decorators = { authenticate: 'authenticateCustomer', tokenAuth: 'customerAuth', user: 'customer', auth: 'customerSession' }
  await app.register(authPlugin, testOptions(database.url, { prefix: '/shop', decorators, users: { table: 'customers', columns: {} }, token: { table: 'customer_tokens' } }))
  const customerOnly = named<Authenticate>(app, 'authenticateCustomer')
  app.get('/desk', { onRequest: app.authenticate }, async (request) => requireUser(request))
  app.get('/basket', { onRequest: customerOnly }, async (request) => requireUser(request))
  app.get('/imported', { onRequest: authenticate }, async () => 'public')
  app.get('/both', async (request) => {
    Object.assign(request, { user: { id: 1 }, customer: { id: 2 } })
    return requireUser(request)
  })
  const staff = await logIn(app, app.tokenAuth, '/staff')
  const customer = await logIn(app, named<TokenAuth>(app, 'customerAuth'), '/shop')

  const get = async (url: string, token: string) => (await app.inject({ url, ...withToken(token) })).json()
  t.match(await get('/desk', staff.token), { username: staff.username })
  t.match(await get('/basket', customer.token), { username: customer.username })
  t.match(await get('/desk', customer.token), { statusCode: 401 }, 'a token of one registration is invalid in the other')
  t.match(await get('/basket', staff.token), { statusCode: 401 })
  t.match(await get('/imported', staff.token), { statusCode: 500, code: 'FST_TOKEN_AUTH_NOT_REGISTERED', message: /more than once/ })
  t.match(await get('/both', staff.token), { statusCode: 500, code: 'FST_TOKEN_AUTH_NOT_REGISTERED', message: /several registrations/ })
})

t.test('the imported authenticate', async (t) => {
  await t.test('protects a route that is declared before the plugin is loaded', async (t) => {
    const app = start(t)
    app.register(authPlugin, testOptions(database.url))
    app.get('/mine', { onRequest: authenticate }, async (request) => requireUser(request))
    app.get('/awaited', { preHandler: async (request, reply) => { await authenticate(request, reply) } }, async (request) => requireUser(request))
    app.get('/limited', { onRequest: authenticate.with({ scopes: ['a'] }).with({ fresh: true }) }, async () => 'ok')
    app.get('/optional', { onRequest: authenticate.with({ optional: true }) }, async (request) => request.user ?? requireUser(request))
    await app.ready()
    const { id, username, token } = await logIn(app, app.tokenAuth)
    const get = async (url: string, token?: string) => await app.inject({ url, ...(token === undefined ? {} : withToken(token)) })
    for (const path of ['/mine', '/awaited']) {
      t.match((await get(path, token)).json(), { id, username }, path)
      t.match((await get(path)).json(), { statusCode: 401, code: 'FST_TOKEN_AUTH_UNAUTHENTICATED' }, path)
    }
    for (let times = 0; times < 2; times++) t.equal((await get('/limited', token)).statusCode, 200)
    const { token: limited } = await app.tokenAuth.issueToken(id, { scopes: ['b'] })
    t.equal((await get('/limited', limited)).statusCode, 403)
    t.match((await get('/optional', token)).json(), { id })
    t.match((await get('/optional')).json(), { statusCode: 401 }, 'requireUser refuses a request without a user')
  })

  await t.test('answers 500 without the plugin, and never accepts a request', async (t) => {
    const app = start(t)
    app.get('/hook', { onRequest: authenticate }, async () => 'public')
    app.get('/awaited', { preHandler: async (request, reply) => { await authenticate(request, reply) } }, async () => 'public')
    app.get('/user', async (request) => requireUser(request))
    app.register(async (scope) => { await scope.register(authPlugin, testOptions(database.url)) })
    for (const url of ['/hook', '/awaited', '/user']) t.match((await app.inject(url)).json(), { statusCode: 500, code: 'FST_TOKEN_AUTH_NOT_REGISTERED' }, url)
  })

  await t.test('is rejected in hooks that protect nothing, and with invalid options', async (t) => {
    const app = start(t)
    await app.register(authPlugin, testOptions(database.url))
    t.throws(() => app.get('/late', { onSend: authenticate as never }, async () => ''), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /not as onSend/ })
    t.throws(() => authenticate.with({ scope: ['a'] } as never), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /scope/ })
    await t.rejects(async () => { await (authenticate as unknown as (...args: unknown[]) => unknown)({}, {}, 'payload', undefined) }, { code: 'FST_TOKEN_AUTH_INVALID_OPTION' })
  })

  await t.test('works inside @fastify/auth', async (t) => {
    const routes = async (app: FastifyInstance) => {
      await app.register(fastifyAuth)
      app.get('/either', { preHandler: app.auth([authenticate]) }, async (request) => requireUser(request))
    }
    const app = start(t)
    await app.register(authPlugin, testOptions(database.url))
    await routes(app)
    const { username, token } = await logIn(app, app.tokenAuth)
    t.match((await app.inject({ url: '/either', ...withToken(token) })).json(), { username })
    t.equal((await app.inject('/either')).statusCode, 401)
  })
})
