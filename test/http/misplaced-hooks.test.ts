import fastifyAuth from '@fastify/auth'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authenticate as imported, authPlugin } from '../../lib/index.js'
import { createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)

const LATE = ['preParsing', 'preSerialization', 'onSend', 'onResponse', 'onError', 'onTimeout', 'onRequestAbort'] as const
const CODE = 'FST_TOKEN_AUTH_INVALID_OPTION'

// An exception that escapes a request fails the test, because tap reports it as uncaught.
async function open (t: Test, routes: (app: FastifyInstance) => void | Promise<void>, server = {}) {
  const app = await createApp(t, testOptions(database.url), { routes, server })
  const { username } = await createUser(app)
  const token = await login(app, username)
  const statusOf = async (url: string, authorization?: string) => await app.inject({ url, headers: { 'x-forwarded-for': '192.0.2.1', ...(authorization === undefined ? {} : { authorization }) } })
    .then(({ statusCode }) => statusCode, () => 'cut off')
  return {
    app,
    token,
    /** The statuses with a live token from PostgreSQL, with one from Redis, with a revoked one, and without a token. */
    async statuses (url: string): Promise<unknown[]> {
      const { token: dead } = await app.tokenAuth.issueToken((await createUser(app)).id)
      await app.tokenAuth.revokeToken(dead)
      const statuses = []
      for (const header of [`Bearer ${token}`, `Bearer ${token}`, `Bearer ${dead}`, undefined]) statuses.push(await statusOf(url, header))
      t.equal(await statusOf('/protected', `Bearer ${token}`), 200, 'the server still runs')
      return statuses
    }
  }
}

t.test('a route with authenticate in a hook that cannot protect it is rejected, and the error names the hook', async (t) => {
  await createApp(t, testOptions(database.url), {
    async routes (app) {
      const { authenticate } = app
      const other = () => {}
      for (const hook of LATE) {
        for (const hooks of [authenticate, [other, authenticate.with({ fresh: true })]]) {
          t.throws(() => app.get('/wrong', { [hook]: hooks }, async () => ''),
            { code: CODE, message: `authenticate protects a route as onRequest, preValidation or preHandler, not as ${hook} (GET /wrong)` })
        }
        app.get(`/right/${hook}`, { [hook]: other, onRequest: authenticate, preValidation: [authenticate], preHandler: authenticate }, async () => '')
      }
      t.throws(() => app.route({ method: ['PUT', 'POST'], url: '/several', onSend: authenticate as never, handler: async () => '' }), { message: /PUT, POST \/several/ })
      await app.register(async (scope) => {
        t.throws(() => scope.get('/scoped', { onSend: scope.authenticate as never }, async () => ''), { code: CODE })
      })
    }
  })
})

t.test('a route with authenticate.with that nobody has called is rejected', async (t) => {
  const { statuses } = await open(t, (app) => {
    for (const { with: uncalled } of [app.authenticate, app.authenticate.with({ optional: true }), imported]) {
      for (const hook of ['onRequest', 'preValidation', 'preHandler', ...LATE]) {
        t.throws(() => app.get('/wrong', { [hook]: [() => {}, uncalled] }, async () => ''),
          { code: CODE, message: `authenticate.with must be called, as in authenticate.with({ fresh: true }), got the method itself as ${hook} (GET /wrong)` })
      }
    }
    app.register(async (scope) => {
      scope.addHook('onRequest', scope.authenticate.with as never)
      scope.get('/added', async () => '')
    })
  })
  t.same(await statuses('/added'), Array(4).fill(500))
})

t.test('authenticate as such a hook of a scope fails each request, but none if the hook runs after the answer is decided', async (t) => {
  const { statuses } = await open(t, async (app) => {
    for (const hook of LATE) {
      await app.register(async (scope) => {
        scope.addHook(hook as 'onSend', scope.authenticate)
        scope.get(`/${hook}`, async () => ({ any: 'thing' }))
        scope.get(`/${hook}/failing`, async () => { throw new Error('the handler fails') })
      })
    }
  })
  for (const hook of LATE) {
    const isInTheWay = ['preParsing', 'preSerialization', 'onSend'].includes(hook)
    t.same(await statuses(`/${hook}`), Array(4).fill(isInTheWay ? 500 : 200), hook)
    t.same(await statuses(`/${hook}/failing`), Array(4).fill(500), hook)
  }
})

t.test('authenticate after an abort or a timeout does not end the process', async (t) => {
  const heard: (Error | undefined)[] = []
  const { app, token } = await open(t, () => {})
  const request = { raw: { headers: { authorization: `Bearer ${token}` } } } as unknown as FastifyRequest
  const call = app.authenticate as (...args: unknown[]) => unknown
  call(request, (error?: Error) => heard.push(error))
  call(request, { header () {}, raw: { writableEnded: true } }, (error?: Error) => heard.push(error))
  t.match(heard, [{ code: CODE }, { code: CODE }])
  t.throws(() => call(request), { code: CODE })
})

t.test('authenticate as an application hook fails with a clear error', async (t) => {
  for (const hook of ['onRoute', 'onRegister', 'onReady', 'preClose', 'onClose']) {
    const app = Fastify()
    await app.register(authPlugin, testOptions(database.url))
    app.addHook(hook as 'onReady', app.authenticate as never)
    const outcome = (async () => {
      await app.register(async (scope) => { scope.get('/', async () => '') })
      await app.ready()
      await app.close()
    })()
    await t.rejects(outcome, { code: CODE }, hook)
    if (!/Close/.test(hook)) await app.close()
  }
})

t.test('an error during the lookup of a token is answered to its own request', async (t) => {
  const setter = (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
    Object.defineProperty(request, 'user', { get: () => null, set (value) { if (value !== null) throw new Error('no user for you') } })
    done()
  }
  const { statuses } = await open(t, (app) => {
    app.get('/cached', { onRequest: [setter, app.authenticate] }, async () => '')
    app.get('/fresh', { onRequest: [setter, app.authenticate.with({ fresh: true })] }, async () => '')
  })
  t.same(await statuses('/cached'), [500, 500, 401, 401])
  t.same(await statuses('/fresh'), [500, 500, 401, 401])
})

t.test('an exception in the host\'s trustProxy does not end the process', async (t) => {
  let isBroken = false
  const trustProxy = () => { if (isBroken) throw new Error('no proxy list'); return true }
  const { statuses } = await open(t, (app) => {
    app.get('/refused', { onRequest: [(_request, _reply, done) => { isBroken = true; done() }, app.authenticate], onResponse: async () => { isBroken = false } }, async () => '')
  }, { trustProxy })
  t.same(await statuses('/refused'), [200, 200, 500, 401])
})

t.test('a callback that throws causes one answer 500 to its own request', async (t) => {
  const { statuses } = await open(t, (app) => {
    app.get('/callback', { onRequest: (request, reply) => { app.authenticate(request, reply, () => { throw new Error('the host\'s own') }) } }, async () => '')
    app.get('/sent', { onRequest: (request, reply) => { app.authenticate(request, reply, () => { reply.hijack(); reply.raw.end('sent'); throw new Error('too late') }) } }, async () => '')
  })
  t.same(await statuses('/callback'), [500, 500, 500, 500])
  t.same((await statuses('/sent')).slice(0, 3), [200, 200, 200])
})

t.test('authenticate inside @fastify/auth in a hook that cannot protect does not end the process', async (t) => {
  const { statuses } = await open(t, async (app) => {
    await app.register(fastifyAuth)
    for (const hook of LATE) {
      app.get(`/${hook}`, { [hook]: app.auth([app.authenticate]) }, async () => ({ any: 'thing' }))
      app.get(`/${hook}/failing`, { [hook]: app.auth([app.authenticate]) }, async () => { throw new Error('the handler fails') })
    }
  })
  for (const hook of LATE) for (const url of [`/${hook}`, `/${hook}/failing`]) await statuses(url)
})
