import t from 'tap'
import { createApp, createUser, login, caller, PASSWORD, testOptions } from '../helpers/app.js'
import { cli } from '../helpers/cli.js'
import { noPgBouncer, startPgBouncer } from '../helpers/pgbouncer.js'
import { freshDatabase, query, redisUrl } from '../helpers/services.js'
import { logTo } from '../helpers/start.js'

t.test('behind PgBouncer in transaction mode', { skip: noPgBouncer }, async (t) => {
  const direct = await freshDatabase(t)
  const url = await startPgBouncer(t, direct)
  const { server, lines, warnings } = logTo()
  // With the plugin's default time limits, which PgBouncer refuses.
  const app = await createApp(t, testOptions(url, { database: { connectionString: url, connectionTimeoutMillis: 30_000 } }), { server })

  await t.test('the server starts without the refused parameters, and warns which limits are missing', async (t) => {
    t.equal(lines.filter(({ msg }) => /refuses time limits as start-up parameters/.test(msg)).length, 1)
    t.same(warnings(), ['the connections to the database lack server-side time limits: statement_timeout is off, lock_timeout is off, idle_in_transaction_session_timeout is off; set them for the role, as in "alter role postgres set statement_timeout = \'5s\'"; see docs/production.md#pgbouncer'])
  })

  await t.test('a thousand requests of several kinds are answered', async (t) => {
    const call = caller(app)
    const names = await Promise.all(Array.from({ length: 5 }, async () => (await createUser(app)).username))
    const tokens = await Promise.all(Array.from({ length: 20 }, async (_, i) => await login(app, names[i % 5]!)))
    const uncached = app.authenticate.with({ fresh: true })
    const look = async (token: string) => await uncached({ raw: { headers: { authorization: `Bearer ${token}` }, rawHeaders: [] } } as never, { header () {} } as never)
    let failures = 0
    for (let round = 0; round < 45; round++) await Promise.all(tokens.map(async (token) => await look(token).catch(() => { failures++ })))
    t.equal(failures, 0, '900 lookups in PostgreSQL')
    const statuses = await Promise.all(Array.from({ length: 50 }, async (_, i) => {
      const token = await login(app, names[i % 5]!)
      return [(await call('GET', '/auth/sessions', { token })).statusCode, (await call('POST', '/auth/logout', { token })).statusCode]
    }))
    t.same(new Set(statuses.flat()), new Set([200, 204]))
    t.equal((await call('POST', '/auth/logout-all', { token: tokens[0]! })).statusCode, 204)
    t.equal((await call('GET', '/protected', { token: tokens[5]! })).statusCode, 401)
  })

  await t.test('the commands work', async (t) => {
    const env = { DATABASE_URL: url, REDIS_URL: redisUrl() }
    for (const [args, stdin] of [[['migrate', '--up'], ''], [['migrate', '--status'], ''], [['create-user', 'ann'], PASSWORD], [['set-password', 'ann'], PASSWORD + '!'], [['revoke-user', 'ann'], ''], [['prune'], '']] as const) {
      t.match(await cli([...args], { env, stdin }), { code: 0 }, args.join(' '))
    }
  })

  await t.test('limits that are set for the role are detected', async (t) => {
    const role = `app_${process.pid}`
    await query(`create role ${role} login superuser; alter role ${role} set statement_timeout = '5s'; alter role ${role} set lock_timeout = '2s'; alter role ${role} set idle_in_transaction_session_timeout = '10s'`, direct)
    t.teardown(async () => await query(`drop role ${role}`, direct))
    const own = new URL(direct)
    own.username = role
    const through = await startPgBouncer(t, own.href)
    const log = logTo()
    await createApp(t, testOptions(through, { database: { connectionString: through }, redis: null }), { server: log.server })
    t.same(log.warnings(), [])
  })
})
