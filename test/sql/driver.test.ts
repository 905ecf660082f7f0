import { PGlite } from '@electric-sql/pglite'
import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'
import { createPGlitePool, PreparedClient } from '../../lib/index.js'
import { asStartError, codeOf, isLost, isUnreachable, redactValues } from '../../lib/sql/errors.js'
import { openDatabase } from '../../lib/sql/database.js'
import { reach } from '../../lib/sql/reach.js'
import { check } from '../../lib/sql/startup-checks.js'
import { giveUp } from '../../lib/sql/unusable-clients.js'
import { createRetry } from '../../lib/sql/retry.js'
import { caller, createApp, createUser, fastHasher, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import { SILENT } from '../helpers/silent.js'
import { roundTrip } from '../helpers/start.js'
import { countingPool } from '../helpers/pools.js'

const database = await createDatabase()
t.teardown(database.drop)
const { pool } = countingPool(t, database.url)
// Creates the tables.
await createApp(t, testOptions(database.url))

t.test('ids that the host\'s driver parses as BigInt are strings', async (t) => {
  await pool.query('create table people (id bigint primary key, username text, password_hash text, active boolean default true, last_login timestamptz)')
  const bigints = new pg.Pool({ connectionString: database.url, types: { getTypeParser: (oid: number, format: 'text') => oid === 20 ? BigInt : pg.types.getTypeParser(oid, format) } as never })
  t.teardown(() => bigints.end())
  const host = await createApp(t, testOptions(database.url, { database: bigints, users: { table: 'people' }, token: { table: 'people_tokens' } }))
  const { id, username } = await host.tokenAuth.createUser({ username: 'big', password: PASSWORD, fields: { id: '9007199254740993' } })
  t.equal(id, '9007199254740993')
  const token = await login(host, username)
  for (let i = 0; i < 2; i++) t.equal((await caller(host)('GET', '/auth/me', { token })).json().user.id, '9007199254740993')
})

t.test('runs on PGlite, passed as its pool', async (t) => {
  const pglite = await PGlite.create()
  const embedded = createPGlitePool(pglite)
  t.teardown(() => embedded.end())
  const host = await createApp(t, { database: embedded, autoMigrate: true, hasher: fastHasher, rateLimit: false })
  const { username } = await createUser(host)
  const tokens = await Promise.all([login(host, username), login(host, username)])
  for (const token of tokens) t.equal((await caller(host)('GET', '/auth/me', { token })).statusCode, 200)
  t.equal((await caller(host)('POST', '/auth/logout-all', { token: tokens[0]! })).statusCode, 204)
  for (const token of tokens) t.equal((await caller(host)('GET', '/auth/me', { token })).statusCode, 401)
  const client = await embedded.connect()
  t.same((await client.query('select 1 as one, 9007199254740993 as big', [])).rows, [{ one: 1, big: '9007199254740993' }])
  client.release()
})

t.test('pools of one PGlite take turns', async (t) => {
  const pglite = await PGlite.create()
  t.teardown(() => pglite.close())
  const start = () => createApp(t, { database: createPGlitePool(pglite), autoMigrate: true, hasher: fastHasher, rateLimit: false })
  for (const host of await Promise.all([start(), start()])) await roundTrip(t, host)
})

t.test('PreparedClient runs every other statement unchanged', async (t) => {
  const client = new PreparedClient(database.url)
  await client.connect()
  t.teardown(() => client.end())
  t.same((await client.query({ text: 'select $1::int as n', values: [7] })).rows, [{ n: 7 }])
  t.same((await client.query('select $1::int as n', [8])).rows, [{ n: 8 }])
  const named = '/*fta_0123456789abcdef*/ select $1::int as n'
  for (const n of [1, 2]) t.same((await client.query(named, [n])).rows, [{ n }])
  t.same((await client.query('select name from pg_prepared_statements')).rows, [{ name: 'fta_0123456789abcdef' }])
})

t.test('a connection whose server falls silent is destroyed, so that its statement ends', async (t) => {
  const { hostname, port } = new URL(database.url)
  const proxy = await createTcpProxy(t, { host: hostname, port: Number(port) })
  const through = new URL(database.url)
  through.port = String(proxy.port)
  const { db, close } = openDatabase({ connectionString: through.href, statement_timeout: 100 }, SILENT)
  t.teardown(async () => await close())
  await db.connection().execute(async (one) => {
    await sql`select pg_backend_pid()`.execute(one)
    proxy.freeze()
    await t.rejects(sql`select 1`.execute(one), { code: 'ETIMEDOUT' })
  })
  proxy.pass()
  t.same((await sql`select 1 as one`.execute(db)).rows, [{ one: 1 }], 'the pool has dropped it')
})

t.test('a driver\'s error loses its values and keeps its code, table and name', async (t) => {
  const failed = await pool.query('insert into users (username) values ($1), ($1)', ['a secret name']).catch((error) => error)
  t.match(failed.detail, 'a secret name')
  const clean = redactValues(failed)
  t.notMatch(JSON.stringify({ ...clean, message: clean.message, stack: clean.stack }), 'a secret name')
  t.match(clean, { code: '23505', table: 'users', name: 'DatabaseError' })
  t.same(['22001', '23502', '23514'].map((code) => redactValues({ code, column: 'c', constraint: 'k', message: 'a secret' }).message),
    ['a value is too long for its column', 'the column "c" must have a value', 'the check "k" refuses a value'])
  for (const nothing of [null, undefined, 'text', 5]) t.equal(codeOf(nothing), '')
  t.equal(redactValues(null).message, 'the database refused the statement')
  t.equal(redactValues(new Error('')).message, 'the database refused the statement')
  t.same([isUnreachable(null), isUnreachable(failed), isUnreachable({ code: 'ECONNREFUSED' }), isUnreachable({ code: '57P03' })], [false, false, true, true])
  for (const error of [{ code: '57P01' }, { code: '57P05' }, { code: 'ECONNRESET' }, { code: 'ECONNABORTED' }, { code: 'ETIMEDOUT', syscall: 'read' }, { code: 'EHOSTUNREACH', syscall: 'write' }, { code: 'ERR_SSL_DECRYPTION_FAILED' }, { code: '08P01' }, { code: '08007' }, new Error('Connection terminated'), new Error('Connection terminated unexpectedly'), new Error('Client has encountered a connection error and is not queryable')]) t.ok(isLost(error))
  for (const error of [null, failed, { code: 'ECONNREFUSED' }, { code: 'ETIMEDOUT', syscall: 'connect' }, { code: 'ENOTFOUND' }, { code: '08001' }, { code: '57P03' }, { code: '57014' }, new Error('Connection terminated due to connection timeout')]) t.notOk(isLost(error))
})

t.test('an error of PostgreSQL names the constraint or column that refused the value, never the value', (t) => {
  const failure = { message: 'secret', detail: 'secret', constraint: 'rule', column: 'name' }
  for (const code of ['22001', '22021', '22P05', '23001', '23502', '23503', '23505', '23514', '23P01', '44000', 'P0001', '22P02']) {
    const { message } = redactValues({ ...failure, code })
    t.notMatch(message, /secret/, code)
    if (code.startsWith('23')) t.match(message, /"(rule|name)"/, code)
  }
  t.end()
})

t.test('the error of a start has the reason of the server, or of the driver', async (t) => {
  const reasons: [object, string, RegExp][] = [
    [{ code: '28P01', message: 'password authentication failed for user "app"' }, 'REFUSED', /: password authentication failed for user "app"\./],
    [{ code: '08P01', message: 'unsupported startup parameter: options' }, 'REFUSED', /: unsupported startup parameter: options\./],
    [new Error('The server does not support SSL connections'), 'REFUSED', /does not support SSL/],
    [{ code: 'ECONNREFUSED', message: '' }, 'UNREACHABLE', /\(ECONNREFUSED\)/],
    [{ code: 'ENOTFOUND', message: 'getaddrinfo ENOTFOUND db' }, 'UNREACHABLE', /\(getaddrinfo ENOTFOUND db\)/],
    [{ code: '53300', message: 'too many clients already' }, 'UNREACHABLE', /\(53300: too many clients already\)/],
    [new Error('timeout exceeded when trying to connect'), 'UNREACHABLE', /\(timeout exceeded when trying to connect\)/]
  ]
  for (const [error, name, message] of reasons) t.match(asStartError(error), { code: `FST_TOKEN_AUTH_DATABASE_${name}`, message })
  const own = asStartError(new Error('no TLS'))
  t.equal(asStartError(own), own)
  t.match(asStartError({ code: '42501', message: 'permission denied' }), { name: 'DatabaseError', message: 'permission denied' })
  const failing = (error: object) => ({ execute: async () => { throw error } }) as never
  await t.rejects(check(null as never, failing({ code: 'ECONNRESET', message: 'read ECONNRESET' }), 'users'), { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE' })
  await t.rejects(check(null as never, failing({ code: '42P01', message: 'no such table' }), 'users'), { code: 'FST_TOKEN_AUTH_MISSING_TABLES' })
})

t.test('a first statement is repeated on other connections, but not for ever', async (t) => {
  let attempts = 0
  const refusing = (refusals: number) => ({
    async execute () {
      if (++attempts > refusals) return { rows: [1] }
      const error = new Error('not on this connection')
      giveUp(error)
      throw error
    }
  }) as never
  t.same(await reach(null as never, refusing(4)), [1])
  t.equal(attempts, 5)
  attempts = 0
  await t.rejects(reach(null as never, refusing(5)), { message: 'not on this connection' })
})

t.test('a statement is not retried on more connections than the pool may have', async (t) => {
  let tries = 0
  const retry = createRetry({ timeoutMs: 60_000, connections: 3 })
  await t.rejects(retry(async () => { tries++; throw new Error('Client was closed and is not queryable') }, false), { message: /not queryable/ })
  t.equal(tries, 4)
})
