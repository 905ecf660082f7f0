import rateLimit from '@fastify/rate-limit'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authPlugin } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { createUser, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

type Prepare = (app: FastifyInstance) => unknown

/** A host with a route of its own that fails with the same errors as the plugin's routes. */
async function start (t: Test, before: Prepare, { after = () => {}, options = {} }: { after?: Prepare, options?: Partial<AuthPluginOptions> } = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await before(app)
  await app.register(authPlugin, testOptions(database.url, options))
  await after(app)
  app.get('/own', { onRequest: app.authenticate }, async () => '')
  await app.ready()
  return app
}

const login = async (app: FastifyInstance, payload: object) => await app.inject({ method: 'POST', url: '/auth/login', payload })

type Failure = Error & { code?: string, statusCode?: number }
const statusOf = ({ statusCode = 500 }: Failure) => statusCode
const FORMATS: Record<string, (error: Failure, request: FastifyRequest, reply: FastifyReply) => unknown> = {
  nested: (error, request, reply) => reply.code(statusOf(error)).send({ error: { code: error.code, message: error.message }, requestId: request.id }),
  'problem details': (error, _request, reply) => reply.code(statusOf(error)).type('application/problem+json').send({ type: 'about:blank', title: error.message, status: statusOf(error) }),
  'a list': (error, _request, reply) => reply.code(statusOf(error)).send({ errors: [error.message] }),
  success: async (error, _request, reply) => { await reply.code(statusOf(error)).send({ success: false, message: error.message }) },
  text: (error, _request, reply) => reply.code(statusOf(error)).type('text/plain').send(error.message)
}

t.test('the routes answer errors in the host\'s format, whether its error handler is set before or after', async (t) => {
  for (const [name, handler] of Object.entries(FORMATS)) {
    const set: Prepare = (app) => { app.setErrorHandler(handler) }
    for (const app of [await start(t, set), await start(t, () => {}, { after: set })]) {
      const own = await app.inject('/own')
      const mine = await app.inject('/auth/me')
      const withoutId = (body: string) => body.replace(/req-\w+/, '')
      t.equal(mine.statusCode, 401, name)
      t.equal(withoutId(mine.body), withoutId(own.body), name)
      t.equal(mine.headers['content-type'], own.headers['content-type'], name)
      t.match(mine.headers['www-authenticate'], /^Bearer/)
      const refused = await login(app, { username: 'nobody', password: 'wrong' })
      t.equal(refused.statusCode, 401, name)
      t.match(refused.body, 'Wrong username or password')
      t.equal((await login(app, { username: 'nobody' })).statusCode, 400, name)
      t.equal((await app.inject({ method: 'DELETE', url: '/auth/sessions/x' })).statusCode, 401, name)
    }
  }
})

t.test('errors of the host\'s hooks and of other plugins are passed on unchanged', async (t) => {
  const failing = (error: object): Prepare => (app) => { app.addHook('onRequest', async () => { throw Object.assign(new Error('maintenance'), error) }) }
  const sending = (status: number): Prepare => (app) => { app.addHook('onRequest', async (_request, reply) => await reply.code(status).send({ message: 'not now' })) }
  for (const [before, status, body] of [
    [failing({ statusCode: 503 }), 503, 'maintenance'], [failing({ statusCode: 403 }), 403, 'maintenance'], [failing({}), 500, 'maintenance'],
    [sending(403), 403, 'not now'], [sending(429), 429, 'not now'], [sending(418), 418, 'not now']
  ] as const) {
    const app = await start(t, before)
    for (const reply of [await login(app, { username: 'a', password: 'b' }), await app.inject('/auth/me')]) {
      t.equal(reply.statusCode, status)
      t.equal(reply.json().message, body)
    }
  }
})

t.test('what a hook of the host throws is answered as on its own routes, though it is no error', async (t) => {
  const thrown: unknown[] = [{ statusCode: 503, message: 'maintenance' }, { message: 'none' }, 'maintenance', 42, Symbol('odd'), Object.create(null), null, undefined]
  const handler = (error: unknown, _request: FastifyRequest, reply: FastifyReply) => reply.code(418).send({ thrown: typeof error })
  const set: Prepare = (app) => { app.setErrorHandler(handler) }
  const none = () => {}
  for (const [before, after, name] of [[none, none, 'no handler'], [set, none, 'a handler before'], [none, set, 'a handler after']] as const) {
    for (const value of thrown) {
      let isDown = false
      const app = await start(t, async (app) => {
        await before(app)
        app.addHook('onRequest', async () => { if (isDown) throw value })
      }, { after })
      const { id } = await createUser(app)
      const { token } = await app.tokenAuth.issueToken(id)
      const headers = { authorization: `Bearer ${token}` }
      isDown = true
      const own = await app.inject({ url: '/own', headers })
      const logout = await app.inject({ method: 'POST', url: '/auth/logout', headers })
      isDown = false
      t.ok(own.statusCode >= 400, `${name}, ${String(own.statusCode)}`)
      t.same([logout.statusCode, logout.body], [own.statusCode, own.body], name)
      t.equal((await app.inject({ url: '/own', headers })).statusCode, 200, 'the session has not ended')
    }
  }
})

t.test('a host that changes how every route validates bodies changes nothing', async (t) => {
  const changes: Partial<RouteOptions>[] = [{ attachValidation: true }, { validatorCompiler: () => () => true }, { serializerCompiler: () => () => 'ok' }, { bodyLimit: 1024 * 1024 }]
  for (const change of changes) {
    const app = await start(t, (app) => { app.addHook('onRoute', (route) => { Object.assign(route, change) }) })
    const name = Object.keys(change)[0]!
    t.match((await login(app, {})).json(), { statusCode: 400, code: 'FST_ERR_VALIDATION' }, name)
    t.match((await login(app, { username: 'a'.repeat(17_000), password: 'b' })).json(), { statusCode: 413, code: 'FST_ERR_CTP_BODY_TOO_LARGE' }, name)
  }
})

t.test('headers that the host sets on its refusals are kept', async (t) => {
  const refusals: Record<string, string>[] = [{ status: '401', 'www-authenticate': 'Basic realm="staging"' }, { status: '503', 'retry-after': '300' }]
  for (const { status, ...headers } of refusals) {
    const app = await start(t, (app) => {
      app.addHook('onRequest', async (_request, reply) => {
        reply.headers(headers)
        throw Object.assign(new Error('no'), { statusCode: Number(status), code: 'toString', scope: 'a\nb', retryAfterSeconds: 'soon' })
      })
    })
    const reply = await app.inject('/auth/me')
    t.equal(reply.statusCode, Number(status))
    t.match(reply.headers, headers)
  }
})

t.test('a global @fastify/rate-limit with an answer of its own ends no request with 200', async (t) => {
  const app = await start(t, async (app) => await app.register(rateLimit, {
    max: 2, timeWindow: '5 minutes', errorResponseBuilder: (_request, { after }) => ({ statusCode: 429, error: 'Too Many Requests', message: `retry in ${after}` })
  }))
  const replies = []
  for (let times = 0; times < 3; times++) replies.push(await app.inject({ method: 'POST', url: '/auth/logout' }))
  t.same(replies.map(({ statusCode }) => statusCode), [401, 401, 429])
  t.match(replies[2]!.headers['retry-after'], '300')
})

t.test('a global @fastify/rate-limit answers 429 on the routes', async (t) => {
  const app = await start(t, async (app) => await app.register(rateLimit, { max: 2 }))
  const statuses = []
  for (let times = 0; times < 4; times++) statuses.push((await login(app, { username: 'nobody', password: 'wrong' })).statusCode)
  t.same(statuses, [401, 401, 429, 429])
})

t.test('error handlers of the host that throw run once each, as for its own routes', async (t) => {
  for (const isBefore of [true, false]) {
    const app = Fastify()
    t.teardown(() => app.close())
    const calls: string[] = []
    const throwing = (name: string) => (error: Error) => {
      calls.push(name)
      throw error
    }
    app.setErrorHandler(throwing('outer'))
    await app.register(async (scope) => {
      if (isBefore) scope.setErrorHandler(throwing('inner'))
      await scope.register(authPlugin, testOptions(database.url))
      if (!isBefore) scope.setErrorHandler(throwing('inner'))
      scope.get('/own', { onRequest: scope.authenticate }, async () => '')
    })
    const replies = []
    for (const url of ['/own', '/auth/me']) {
      calls.length = 0
      replies.push((await app.inject(url)).body)
      t.same(calls, ['inner', 'outer'], `${url}, ${isBefore ? 'set before' : 'set after'}`)
    }
    t.equal(replies[1], replies[0])
  }
})

t.test('a preSerialization hook of the host sees replies as their schemas describe them', async (t) => {
  const payloads: unknown[] = []
  const app = await start(t, (app) => {
    app.addHook('preSerialization', async (_request, _reply, payload) => {
      payloads.push(payload)
      return payload
    })
  })
  const { username } = await createUser(app)
  const { token } = (await login(app, { username, password: PASSWORD })).json()
  for (const url of ['/auth/me', '/auth/sessions']) await app.inject({ url, headers: { authorization: `Bearer ${token}` } })
  t.equal(payloads.length, 3)
  t.same(payloads, JSON.parse(JSON.stringify(payloads)), 'instants are texts')
})

t.test('a preSerialization hook of the host wraps the replies', async (t) => {
  const app = await start(t, (app) => { app.addHook('preSerialization', async (_request, _reply, payload) => ({ data: payload })) })
  const { username } = await createUser(app)
  const reply = await login(app, { username, password: PASSWORD })
  t.equal(reply.statusCode, 200)
  t.match(reply.json(), { data: { token: /^fta_/, user: { username } } })
})

// Imported by variable names, because their types need other compiler settings.
const [zod, fastifyZod] = await Promise.all(['zod', 'fastify-type-provider-zod'].map(async (name) => await import(name)))
const fastifyZodOpenApi = await import('fastify-zod-openapi' as string)

t.test('the routes work with the Zod compilers of a host', async (t) => {
  const providers: Record<string, any> = { 'fastify-type-provider-zod': fastifyZod, 'fastify-zod-openapi': fastifyZodOpenApi }
  for (const [name, provider] of Object.entries(providers)) {
    const app = await start(t, async (app) => {
      app.setValidatorCompiler(provider.validatorCompiler)
      app.setSerializerCompiler(provider.serializerCompiler)
      if (provider.fastifyZodOpenApiPlugin !== undefined) await app.register(provider.fastifyZodOpenApiPlugin)
      const { fastifyZodOpenApiTransform, fastifyZodOpenApiTransformObject, jsonSchemaTransform } = provider
      await app.register(swagger, {
        openapi: { info: { title: 'host', version: '1' } },
        transform: jsonSchemaTransform ?? fastifyZodOpenApiTransform,
        ...(fastifyZodOpenApiTransformObject === undefined ? {} : { transformObject: fastifyZodOpenApiTransformObject })
      })
    }, {
      after: (app) => { app.post('/zod', { schema: { body: zod.z.object({ n: zod.z.number() }) } }, async (request) => request.body) }
    })
    const { username } = await createUser(app)
    t.equal((await login(app, { username, password: PASSWORD })).statusCode, 200, name)
    t.equal((await login(app, { username })).statusCode, 400, name)
    t.equal((await login(app, { username, password: 'wrong' })).statusCode, 401, name)
    t.equal((await app.inject({ method: 'POST', url: '/zod', payload: { n: 'x' } })).statusCode, 400, name)
    t.match(app.swagger(), { paths: { '/auth/login': { post: {} }, '/zod': { post: {} } } }, name)
  }
})

t.test('@fastify/swagger in Swagger 2.0 mode describes the routes', async (t) => {
  const app = await start(t, async (app) => await app.register(swagger, { swagger: { info: { title: 'host', version: '1' }, securityDefinitions: { own: { type: 'basic' } } } }))
  t.match(app.swagger(), {
    swagger: '2.0',
    securityDefinitions: { own: { type: 'basic' }, bearerToken: { type: 'apiKey', in: 'header', name: 'Authorization' } },
    tags: [{ name: 'auth' }],
    paths: { '/auth/me': { get: { security: [{ bearerToken: [] }] } }, '/auth/login': { post: { operationId: 'login' } } }
  })
})

t.test('an empty body is accepted as no body, whatever its content type', async (t) => {
  const app = await start(t, () => {})
  const { id } = await createUser(app)
  const types = ['application/json', 'application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data; boundary=x', 'application/octet-stream']
  for (const [url, method] of [['/auth/logout', 'POST'], ['/auth/logout-all', 'POST'], ['/auth/sessions/', 'DELETE']] as const) {
    for (const type of [...types, null]) {
      const { token, sessionId } = await app.tokenAuth.issueToken(id)
      const headers = { authorization: `Bearer ${token}`, ...(type === null ? { 'transfer-encoding': 'chunked' } : { 'content-type': type }) }
      const reply = await app.inject({ method, url: method === 'DELETE' ? url + sessionId : url, headers, payload: '' })
      t.equal(reply.statusCode, 204, `${url} ${type}`)
      t.equal((await app.inject({ url: '/own', headers: { authorization: `Bearer ${token}` } })).statusCode, 401)
    }
  }
  const { token } = await app.tokenAuth.issueToken(id)
  for (const type of types.slice(1)) {
    const reply = await app.inject({ method: 'POST', url: '/auth/logout', headers: { authorization: `Bearer ${token}`, 'content-type': type }, payload: 'a=b' })
    t.match(reply.json(), { statusCode: 415, code: /^FST_ERR_CTP_/ }, type)
  }
})

t.test('the plugin stands among helmet, cors, jwt, rate-limit, Swagger UI and Zod in one application', async (t) => {
  const load = async (name: string) => (await import(name)).default
  const [helmet, cors, jwt, ui] = await Promise.all(['@fastify/helmet', '@fastify/cors', '@fastify/jwt', '@fastify/swagger-ui'].map(load))
  const origin = 'https://shop.example'
  const app = await start(t, async (app) => {
    app.setValidatorCompiler(fastifyZod.validatorCompiler)
    app.setSerializerCompiler(fastifyZod.serializerCompiler)
    await app.register(helmet)
    await app.register(cors, { origin, methods: ['GET', 'POST', 'DELETE'], exposedHeaders: ['Retry-After', 'WWW-Authenticate'] })
    await app.register(rateLimit, { max: 1000 })
    await app.register(swagger, { openapi: { info: { title: 'host', version: '1' } }, transform: fastifyZod.jsonSchemaTransform })
    await app.register(ui, { routePrefix: '/docs' })
    await app.register(jwt, { secret: 'a secret of the test' })
  }, { options: { decorators: { user: 'account' } } })
  const { username } = await createUser(app)
  const reply = await app.inject({ method: 'POST', url: '/auth/login', headers: { origin }, payload: { username, password: PASSWORD } })
  t.match(reply, { statusCode: 200, headers: { 'access-control-allow-origin': origin, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' } })
  const headers = { authorization: `Bearer ${reply.json().token}` }
  const preflight = await app.inject({ method: 'OPTIONS', url: '/auth/sessions/x', headers: { origin, 'access-control-request-method': 'DELETE', 'access-control-request-headers': 'authorization' } })
  t.match(preflight, { statusCode: 204, headers: { 'access-control-allow-methods': 'GET, POST, DELETE' } })
  const refused = await app.inject({ url: '/auth/me', headers: { origin } })
  t.match(refused, { statusCode: 401, headers: { 'access-control-expose-headers': 'Retry-After, WWW-Authenticate', 'www-authenticate': /^Bearer/ } })
  t.match((await app.inject('/docs/json')).json().paths, { '/auth/login': { post: {} } })
  t.equal((await app.inject({ method: 'POST', url: '/auth/logout', headers })).statusCode, 204)
  t.equal((await app.inject({ url: '/own', headers })).statusCode, 401)
})
