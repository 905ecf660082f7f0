import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { CamelCasePlugin, Kysely, PostgresDialect } from 'kysely'
import t from 'tap'
import { authPlugin } from '../../lib/index.js'
import { createApp, testOptions } from '../helpers/app.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { openPool } from '../helpers/pools.js'
import { refusal, roundTrip } from '../helpers/start.js'

const database = await createDatabase()
t.teardown(database.drop)
const observer = openPool(t, { connectionString: database.url })

async function connections (name: string): Promise<number> {
  const { rows } = await observer.query('select 1 from pg_stat_activity where application_name = $1', [name])
  return rows.length
}

t.test('decorators', async (t) => {
  const taken = (name: string) => ({ code: 'FST_TOKEN_AUTH_DECORATOR_TAKEN', message: new RegExp(`^The decorator "${name}" exists already`) })
  const register = (app: FastifyInstance) => app.register(authPlugin, testOptions(database.url))

  t.test('refuses to start if another plugin has taken a name', async (t) => {
    const options = testOptions(database.url)
    t.match(await refusal(t, options, (app) => app.decorate('authenticate', async () => {})), taken('authenticate'))
    t.match(await refusal(t, options, (app) => app.decorate('tokenAuth', {} as never)), taken('tokenAuth'))
    t.match(await refusal(t, options, (app) => app.decorateRequest('user', null)), taken('request.user'))
    t.match(await refusal(t, options, (app) => app.decorateRequest('auth', null)), taken('request.auth'))
  })

  t.test('refuses to be registered twice', async (t) => {
    t.match(await refusal(t, testOptions(database.url), register), taken('authenticate'))
  })

  t.test('may be registered in two sibling scopes', async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    for (const prefix of ['/a', '/b']) {
      app.register(async (scope) => { await scope.register(authPlugin, testOptions(database.url, { prefix })) })
    }
    await app.ready()
    for (const prefix of ['/a', '/b']) t.equal((await app.inject(`${prefix}/me`)).statusCode, 401)
  })
})

t.test('the plugin closes only the connections that it opened', async (t) => {
  t.test('a pool\'s configuration', async (t) => {
    const name = uniqueNamespace()
    const app = await createApp(t, testOptions(database.url, { database: { connectionString: database.url, application_name: name, idleTimeoutMillis: 0 } }))
    await roundTrip(t, app)
    t.ok(await connections(name) > 0)
    await app.close()
    await until(async () => await connections(name) === 0, 'the connections are closed')
  })

  t.test('a pg.Pool', async (t) => {
    const pool = openPool(t, { connectionString: database.url })
    const app = await createApp(t, testOptions(database.url, { database: pool }))
    await roundTrip(t, app)
    await app.close()
    t.same((await pool.query('select 1 as one')).rows, [{ one: 1 }])
  })

  t.test('a Kysely instance, also with the CamelCasePlugin', async (t) => {
    for (const plugins of [[], [new CamelCasePlugin()]]) {
      const fresh = await createDatabase()
      t.teardown(fresh.drop)
      const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: openPool(t, { connectionString: fresh.url }) }), plugins })
      const app = await createApp(t, testOptions(fresh.url, { database: db, users: { select: ['created_at'], table: 'users' } }), {}).catch(() => null)
      t.equal(app, null, 'a table of the host is not created')
      const second = await createApp(t, testOptions(fresh.url, { database: db, users: { select: ['created_at'] } }))
      const username = await roundTrip(t, second)
      const { user } = await second.tokenAuth.issueToken((await second.tokenAuth.createUser({ username: `${username}2`, password: null })).id)
      t.match(user, { created_at: /^\d{4}-/ })
      await second.close()
      t.equal((await db.selectFrom('users').selectAll().execute()).length, 2)
    }
  })

  t.test('an ioredis client, which is duplicated with safe settings', async (t) => {
    const connectionName = uniqueNamespace()
    const host = new Redis(redisUrl(), { connectionName: 'host' })
    t.teardown(() => host.disconnect())
    const app = await createApp(t, testOptions(database.url, { redis: host }))
    await roundTrip(t, app)
    await until(async () => (await app.tokenAuth.health()).cache === 'up', 'the cache is used')
    await app.close()
    t.equal(await host.ping(), 'PONG')
    const own = await createApp(t, testOptions(database.url, { redis: { url: redisUrl(), connectionName } }))
    const named = async () => String(await host.client('LIST')).split('\n').filter((line) => line.includes(`name=${connectionName} `)).length
    t.ok(await named() > 0)
    await own.close()
    await until(async () => await named() === 0, 'its own connection is closed')
  })
})
