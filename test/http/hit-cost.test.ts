import { createHook } from 'node:async_hooks'
import t from 'tap'
import type { AuthPluginOptions } from '../../lib/index.js'
import { createApp, createUser, login, testOptions } from '../helpers/app.js'
import { countingPool } from '../helpers/pools.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'

const database = await createDatabase()
t.teardown(database.drop)

/** What one call of the hook does before it returns. */
interface Cost { done: number, clock: number, asynchronous: string[] }

const WAYS: Record<string, Partial<AuthPluginOptions>> = {
  'in the near cache': { cache: { near: true } },
  'in the cache of the process': { redis: null }
}

for (const [way, options] of Object.entries(WAYS)) {
  t.test(`a hit ${way} reads the clock once, creates no promise and no timer, and sends nothing`, async (t) => {
    const namespace = uniqueNamespace()
    const { take } = await watchRedis(t, namespace)
    const { pool, statements } = countingPool(t, database.url)
    let clock = 0
    const app = await createApp(t, testOptions(database.url, { database: pool, now: () => { clock++; return Date.now() }, ...options, cache: { ...options.cache, namespace } }))
    const token = await login(app, (await createUser(app)).username)
    const request = { raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] }, user: null as unknown }
    const reply = { header () {}, raw: {} }

    function hit (): Cost {
      const cost: Cost = { done: 0, clock: 0, asynchronous: [] }
      const hook = createHook({ init: (_id, type) => { cost.asynchronous.push(type) } }).enable()
      clock = 0
      app.authenticate(request as never, reply as never, () => { cost.done++ })
      cost.clock = clock
      hook.disable()
      return cost
    }

    await until(() => hit().done === 1, 'the token is in memory')
    await take()
    statements.length = 0
    t.same(hit(), { done: 1, clock: 1, asynchronous: [] })
    const { user } = request
    t.same(hit(), { done: 1, clock: 1, asynchronous: [] })
    t.equal(request.user, user, 'requests share the user')
    t.same(statements.filter((text) => !text.includes('_members')), [])
    t.same((await take()).filter((command) => command !== 'publish'), [])
  })
}

t.test('a token that cannot be one costs no look-up, and one of another length not even a digest', async (t) => {
  const namespace = uniqueNamespace()
  const { take } = await watchRedis(t, namespace)
  const { pool, statements } = countingPool(t, database.url)
  const app = await createApp(t, testOptions(database.url, { database: pool, cache: { namespace, near: true } }))
  const token = await login(app, (await createUser(app)).username)
  await take()
  statements.length = 0
  for (const wrong of [`${token}x`, token.slice(1), token.slice(0, -1) + (token.endsWith('0') ? '1' : '0'), `x${token.slice(1)}`]) {
    t.equal((await app.inject({ url: '/protected', headers: { authorization: `Bearer ${wrong}` } })).statusCode, 401)
  }
  t.same(statements.filter((text) => text.includes('fta_')), [])
  t.notOk((await take()).includes('get'))
})
