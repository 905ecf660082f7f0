import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import Fastify from 'fastify'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { authPlugin, PreparedClient } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { assertPrimary } from '../../lib/sql/primary.js'
import { createPrimary } from '../../lib/sql/primary.js'
import { caller, createApp, createUser, testOptions } from '../helpers/app.js'
import { createPostgresServer, noPostgres } from '../helpers/postgres-server.js'
import { query } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { openKysely, openPool } from '../helpers/pools.js'

/** An address that leads first to one server and then to another, like a DNS name or a virtual IP. */
async function createAddress (t: Test, url: string) {
  const sockets = new Set<Socket>()
  let target = Number(new URL(url).port)
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(from)
      from.on('error', () => {}).on('close', () => to.destroy()).pipe(to)
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const breakAll = () => { for (const socket of sockets) socket.destroy() }
  t.teardown(() => { server.close(); breakAll() })
  const address = new URL(url)
  address.port = String((server.address() as AddressInfo).port)
  return {
    url: address.href,
    leadTo (url: string) { target = Number(new URL(url).port); breakAll() }
  }
}

const openOver = (pool: pg.Pool) => new Kysely<any>({ dialect: new PostgresDialect({ pool }) })

t.test('a standby', { skip: noPostgres }, async (t) => {
  const primary = await createPostgresServer(t)
  await primary.start()
  const main = await createApp(t, testOptions(primary.url))
  const user = await createUser(main)
  const { token } = await main.tokenAuth.issueToken(user.id)
  const standby = await createPostgresServer(t, { standbyOf: primary })
  await standby.start()

  /** Every form of the option `database` for this server. */
  const formsOf = (connectionString: string): Record<string, AuthPluginOptions['database']> => ({
    'a configuration': { connectionString },
    'a pool of plain clients': openPool(t, { connectionString }),
    'a Kysely of plain clients': openOver(openPool(t, { connectionString })),
    'a Kysely of PreparedClients': openOver(openPool(t, { connectionString, Client: PreparedClient }))
  })

  await t.test('is refused at the start with an error of its own', async (t) => {
    for (const [form, database] of Object.entries(formsOf(standby.url))) {
      for (const autoMigrate of [true, false]) {
        const app = Fastify()
        t.teardown(() => app.close())
        await t.rejects(async () => await app.register(authPlugin, testOptions('', { database, autoMigrate })), { code: 'FST_TOKEN_AUTH_STANDBY_DATABASE', statusCode: 500 }, form)
      }
    }
  })

  await t.test('is distinguished from a primary by a later check', async (t) => {
    await t.rejects(assertPrimary(openKysely(t, standby.url)), { code: 'FST_TOKEN_AUTH_STANDBY_DATABASE' })
    const address = await createAddress(t, primary.url)
    // Without idle connections, so that none of them breaks.
    const { assert, isKnown } = createPrimary(openOver(openPool(t, { connectionString: address.url, maxUses: 1 })))
    t.equal(isKnown(), false, 'before the first check')
    await assert()
    t.equal(isKnown(), true)
    address.leadTo('postgres://127.0.0.1:1/')
    await t.rejects(assert(), { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE' })
    t.equal(isKnown(), true, 'an unreachable server is not taken for another one')
    address.leadTo(standby.url)
    await t.rejects(assert(), { code: 'FST_TOKEN_AUTH_STANDBY_DATABASE' })
    t.equal(isKnown(), false)
  })

  await t.test('gets no query when an address switches to it, so that no token revoked on the primary is accepted', async (t) => {
    const address = await createAddress(t, primary.url)
    const app = await createApp(t, testOptions(address.url))
    const { token } = await main.tokenAuth.issueToken(user.id)
    const read = async () => (await caller(app)('GET', '/auth/me', { token })).statusCode
    await until(async () => (await query('select 1 from auth_tokens', standby.url)).length === 2, 'the standby has the token')
    await query('select pg_wal_replay_pause()', standby.url)
    t.equal((await caller(main)('POST', '/auth/logout', { token })).statusCode, 204)
    address.leadTo(standby.url)
    for (let times = 0; times < 5; times++) t.equal(await read(), 503)
    await t.rejects(openPool(t, { connectionString: standby.url, Client: PreparedClient }).query('select 1'), { message: /not queryable/ })
    address.leadTo(primary.url)
    await until(async () => await read() === 401, 'the primary is queried')
    await query('select pg_wal_replay_resume()', standby.url)
  })

  await t.test("with start: 'degraded' gets no query until it is promoted", async (t) => {
    const apps = await Promise.all(Object.values(formsOf(standby.url)).map(async (database) => await createApp(t, testOptions('', { database, start: 'degraded' }))))
    const readAll = async () => await Promise.all(apps.map(async (app) => (await caller(app)('GET', '/auth/me', { token })).statusCode))
    t.same(await readAll(), apps.map(() => 503))
    t.same(await Promise.all(apps.map(async (app) => (await app.tokenAuth.health()).database)), apps.map(() => 'down'))
    await primary.stop()
    await query('select pg_promote()', standby.url)
    await until(async () => (await readAll()).every((status) => status === 200), 'it is used')
  })
})
