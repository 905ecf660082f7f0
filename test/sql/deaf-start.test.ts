import t from 'tap'
import { createApp, testOptions } from '../helpers/app.js'
import { until } from '../helpers/counting.js'
import { openPool } from '../helpers/pool.js'
import { createDatabase } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'

t.test('a database that takes connections and answers nothing holds up no degraded start', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  const url = new URL(database.url)
  const way = await createTcpProxy(t, { host: url.hostname, port: Number(url.port) })
  url.host = `127.0.0.1:${way.port}`
  const pool = openPool(t, { connectionString: url.href })
  await pool.query('select 1')
  way.freeze()
  t.teardown(way.pass)
  const app = await createApp(t, { ...testOptions(database.url, { start: 'degraded' }), database: pool })
  t.match(await app.tokenAuth.health(), { database: 'down' })
  way.pass()
  await until(async () => (await app.tokenAuth.health()).database === 'up', 'it answers')
})

t.test('a database that answers each check, but slowly, holds up no degraded start', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  await (await createApp(t, testOptions(database.url))).close()
  const url = new URL(database.url)
  const way = await createTcpProxy(t, { host: url.hostname, port: Number(url.port) })
  url.host = `127.0.0.1:${way.port}`
  const pool = openPool(t, { connectionString: url.href })
  await pool.query('select 1')
  // So that the checks take longer than the 10 s that Fastify gives a plugin, but none of them 5 s.
  way.delay(450)
  const app = await createApp(t, { ...testOptions(database.url, { start: 'degraded' }), database: pool })
  way.pass()
  const login = async () => await app.inject({ method: 'POST', url: '/auth/login', payload: { username: 'nobody', password: 'number 8 has password' } })
  await until(async () => (await login()).statusCode === 401, 'it serves')
})
