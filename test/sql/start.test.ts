import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import t from 'tap'
import type { Test } from 'tap'
import { authPlugin, PreparedClient } from '../../lib/index.js'
import { OPTIONS } from '../../lib/options/table.js'
import { createTokenFormat, digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase, freshDatabase, query, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import { freePort } from '../helpers/ports.js'
import { countingPool, openPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'
import { logTo, refusal, roundTrip } from '../helpers/start.js'

t.test('a database that accepts connections and never answers does not delay a degraded start', async (t) => {
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

const database = await createDatabase()
const observer = openPool(t, { connectionString: database.url })

/** Forwards connections to a port to the test's PostgreSQL. */
async function openProxy (t: Test, port: number, target = new URL(database.url)): Promise<void> {
  const sockets: Socket[] = []
  const server: Server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      sockets.push(socket)
      socket.on('error', () => {}).on('close', () => other.destroy()).pipe(other)
    }
  }).listen(port, '127.0.0.1')
  t.teardown(() => { sockets.forEach((socket) => socket.destroy()); server.close() })
  await once(server, 'listening')
}

function through (port: number): string {
  const url = new URL(database.url)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return url.href
}

t.test('the database at start', async (t) => {
  t.test('an unreachable one stops the start with the reason', async (t) => {
    const port = await freePort()
    const expected = { code: 'FST_TOKEN_AUTH_DATABASE_UNREACHABLE', message: `The database cannot be reached (connect ECONNREFUSED 127.0.0.1:${port}). To start without it, set start: 'degraded'` }
    for (const autoMigrate of [true, false]) t.match(await refusal(t, testOptions(through(port), { autoMigrate })), expected)
  })

  t.test('one that does not exist or refuses the connection stops the start', async (t) => {
    const missing = await createDatabase()
    await missing.drop()
    t.match(await refusal(t, testOptions(missing.url)), { code: 'FST_TOKEN_AUTH_DATABASE_REFUSED', message: /^The database refuses the connection: database "\w+" does not exist\. Check the option "database"$/ })
    const stranger = new URL(missing.url)
    stranger.username = 'nobody_of_this_name'
    stranger.pathname = '/postgres'
    t.match(await refusal(t, testOptions(stranger.href)), { code: 'FST_TOKEN_AUTH_DATABASE_REFUSED', message: /role "nobody_of_this_name" does not exist/ })
    t.match(await refusal(t, testOptions(`${database.url}?sslmode=require`)), { code: 'FST_TOKEN_AUTH_DATABASE_REFUSED', message: /The server does not support SSL connections/ })
  })

  t.test("start: 'degraded' starts the server without it, answers 503, and recovers by itself", async (t) => {
    const port = await freePort()
    const { server, lines } = logTo()
    await createApp(t, testOptions(database.url))
    const app = await createApp(t, testOptions(through(port), { start: 'degraded' }), { server })
    const call = caller(app)
    const token = createTokenFormat({ prefix: 'fta', randomBytes: OPTIONS.randomBytes.fallback as never }).create()
    for (const reply of [
      await call('GET', '/auth/me', { token }), await call('POST', '/auth/logout', { token }),
      await call('POST', '/auth/login', { body: { username: 'u', password: 'some password' } })
    ]) {
      t.match(reply, { statusCode: 503, headers: { 'retry-after': /^[1-9]/ } })
      t.match(reply.json(), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    }
    t.equal((await call('GET', '/auth/me')).statusCode, 401, 'a request without a token needs no database')
    t.equal((await app.tokenAuth.health()).database, 'down')
    t.equal(lines.filter(({ msg }) => msg === 'the database cannot be reached: starting without it').length, 1)
    await openProxy(t, port)
    await until(async () => (await call('GET', '/auth/me', { token })).statusCode === 401, 'the database is used')
    await roundTrip(t, app)
  })

  t.test("start: 'degraded' without a database and without Redis logs the reason once, and no advice that is followed already", async (t) => {
    const { server, lines, warnings } = logTo()
    const events: unknown[] = []
    const port = await freePort()
    const { redis: _redis, ...options } = testOptions(through(port), { start: 'degraded', hooks: { onCacheError: (event) => { events.push(event) } } })
    const app = await createApp(t, options, { server })
    await t.rejects(app.tokenAuth.findUser('nobody'), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    t.same(warnings(), ['the database cannot be reached: starting without it'])
    t.match(lines.find(({ level }) => level === 50), { err: { message: `The database cannot be reached (connect ECONNREFUSED 127.0.0.1:${port})` } })
    t.notMatch(JSON.stringify(lines), "To start without it, set start: 'degraded'")
    t.same(events, [])
  })

  t.test("start: 'degraded' trusts no cache entry until the seal key can be read, and then those of all servers", async (t) => {
    const port = await freePort()
    const cache = { namespace: uniqueNamespace() }
    const first = await createApp(t, testOptions(database.url, { cache }))
    const { username } = await createUser(first)
    const token = await login(first, username)
    const redis = new Redis(redisUrl())
    t.teardown(() => redis.disconnect())
    const key = `${cache.namespace}t:${digestOf(token)}`
    const status = async () => (await caller(first)('GET', '/auth/me', { token })).statusCode
    t.equal(await status(), 200)
    await until(async () => await status() === 200 && (await redis.get(key))?.[0] === 'V', 'the entry is filled')
    const entry = await redis.get(key)
    const { pool, statements } = countingPool(t, through(port))
    const call = caller(await createApp(t, testOptions('', { database: pool, start: 'degraded', cache })))
    const get = (token: string) => call('GET', '/auth/me', { token })
    for (let i = 0; i < 3; i++) t.match(await get(token), { statusCode: 503, headers: { 'retry-after': /^[1-9]/ } })
    t.equal(await redis.get(key), entry)
    await openProxy(t, port)
    await until(async () => (await get(token)).statusCode === 200, 'SQL is queried')
    await until(async () => {
      statements.length = 0
      t.equal((await get(token)).statusCode, 200)
      return statements.length === 0
    }, 'the entry is trusted')
    t.equal(await redis.get(key), entry)
  })

  t.test("start: 'degraded' migrates a database that is created later", async (t) => {
    const later = await createDatabase()
    await later.drop()
    const app = await createApp(t, testOptions(later.url, { start: 'degraded' }))
    t.equal((await caller(app)('POST', '/auth/login', { body: { username: 'u', password: 'p' } })).statusCode, 503)
    const { drop } = await createDatabase(new URL(later.url).pathname.slice(1))
    t.teardown(drop)
    await until(async () => (await caller(app)('POST', '/auth/login', { body: { username: 'u', password: 'p' } })).statusCode === 401, 'it is migrated')
    await roundTrip(t, app)
  })

  t.test("start: 'degraded' logs once that the database has no tables, and waits for them", async (t) => {
    const empty = await createDatabase()
    t.teardown(empty.drop)
    const port = await freePort()
    const target = new URL(empty.url)
    const { server, lines } = logTo()
    const url = new URL(through(port))
    url.pathname = target.pathname
    const { pool, statements } = countingPool(t, url.href)
    pool.on('error', () => {})
    const app = await createApp(t, testOptions(url.href, { database: pool, start: 'degraded', autoMigrate: false }), { server })
    await openProxy(t, port)
    await until(() => statements.filter((text) => / where false$/.test(text)).length > 1, 'the tables are checked twice')
    const told = () => lines.filter(({ msg }) => msg === 'the database is not ready').length
    await createApp(t, testOptions(empty.url))
    await until(() => lines.some(({ msg }) => msg === 'the database is ready'), 'it is ready')
    t.equal(told(), 1)
    await roundTrip(t, app)
  })

  t.test("start: 'degraded' tolerates no other error", async (t) => {
    const empty = await createDatabase()
    t.teardown(empty.drop)
    t.match(await refusal(t, testOptions(empty.url, { start: 'degraded', autoMigrate: false })), { code: 'FST_TOKEN_AUTH_MISSING_TABLES' })
  })

  t.test('a tokens table that belongs to another users table stops the start', async (t) => {
    const url = await freshDatabase(t)
    const staff = Fastify()
    t.teardown(() => staff.close())
    await staff.register(authPlugin, testOptions(url))
    await query('create table customers (like users including all); create view active_users as select * from users', url)
    t.match(await refusal(t, testOptions(url, { users: { table: 'customers', idType: 'uuid' } })), {
      code: 'FST_TOKEN_AUTH_MISSING_TABLES',
      message: /^The tokens table "auth_tokens" belongs to the users table users, but users\.table is "customers": .*token\.table/
    })
    await query('create table members (id bigint primary key, username text unique, password_hash text, active boolean, last_login timestamptz)', url)
    t.match(await refusal(t, testOptions(url, { users: { table: 'members', idType: 'bigint' } })), { message: /^The tokens table "auth_tokens" belongs to the users table users/ }, 'ids of another type')
    await createApp(t, testOptions(url, { users: { table: 'active_users' } }))
  })

  t.test('a tokens table that refers to another column of the users table stops the start', async (t) => {
    const url = await freshDatabase(t)
    await query('create table members (id int primary key, legacy_id int not null unique, username text unique, password_hash text)', url)
    const users = { table: 'members', columns: { active: null, lastLogin: null } }
    await createApp(t, testOptions(url, { users }))
    t.match(await refusal(t, testOptions(url, { users: { ...users, columns: { ...users.columns, id: 'legacy_id' } } })), {
      code: 'FST_TOKEN_AUTH_MISSING_TABLES',
      message: 'The tokens table "auth_tokens" refers to the column "id" of "members", but users.columns.id is "legacy_id": map that column, or set token.table to a new table'
    })
  })

  t.test('a view over other users than those of the tokens table stops the start', async (t) => {
    const url = await freshDatabase(t)
    await createApp(t, testOptions(url))
    await query(`create table people (id uuid primary key, username text, password_hash text, active boolean, last_login timestamptz) partition by hash (id);
      create table people_0 partition of people for values with (modulus 1, remainder 0);
      create view customers as select * from people; create view some_customers as select * from customers;
      create materialized view copied_customers as select * from customers;
      create function listed () returns setof users language sql as 'select * from users'; create view opaque as select * from listed();
      create view joined as select u.* from users u left join people p using (id); create table staff () inherits (users)`, url)
    for (const table of ['customers', 'some_customers', 'copied_customers', 'people']) {
      t.match(await refusal(t, testOptions(url, { users: { table, idType: 'uuid' } })), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: `belongs to the users table users, but users.table is "${table}"` }, table)
    }
    for (const table of ['opaque', 'joined', 'staff']) await createApp(t, testOptions(url, { users: { table, idType: 'uuid' } }))
    await createApp(t, testOptions(url, { users: { table: 'people', idType: 'uuid' }, token: { table: 'people_tokens' } }))
    await createApp(t, testOptions(url, { users: { table: 'people_0', idType: 'uuid' }, token: { table: 'people_tokens' } }))
  })

  t.test('missing tables stop the start, and the message names the command that creates them', async (t) => {
    const empty = await createDatabase()
    t.teardown(empty.drop)
    const error = await refusal(t, testOptions(empty.url, { autoMigrate: false }))
    t.match(error, { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: 'The users table is not as expected: relation "users" does not exist' })
    t.match(error.message, 'npx fastify-token-auth migrate --up')
  })

  t.test('a missing tokens table, tokens column or server key row stops the start, and the error names it', async (t) => {
    const half = await createDatabase()
    t.teardown(half.drop)
    await createApp(t, testOptions(half.url))
    const pool = openPool(t, { connectionString: half.url })
    await pool.query('alter table auth_tokens drop column scopes')
    t.match(await refusal(t, testOptions(half.url)), { message: 'The tokens table is not as expected: column "scopes" does not exist' })
    await pool.query('alter table auth_tokens add column scopes text')
    await pool.query('delete from auth_tokens_server_key')
    t.match(await refusal(t, testOptions(half.url)), { message: 'The server key table has no row: revert the migration 0003_token_auth_server_key and apply it again' })
    await pool.query('drop table auth_tokens')
    t.match(await refusal(t, testOptions(half.url, { autoMigrate: false })), { message: 'The tokens table is not as expected: relation "auth_tokens" does not exist' })
  })

  t.test('a missing mapped column stops the start, and the error names it', async (t) => {
    await createApp(t, testOptions(database.url))
    for (const users of [{ columns: { lastLogin: 'seen_at' } }, { columns: { active: 'seen_at' } }, { columns: { username: 'seen_at' } }, { select: ['seen_at'] }, { activeWhen: 'seen_at is null' }]) {
      const error = await refusal(t, testOptions(database.url, { users: { table: 'users', ...users }, autoMigrate: false }))
      t.match(error, { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: 'The users table is not as expected: column "seen_at" does not exist. Add the column, or correct users.columns, users.select or users.activeWhen' })
    }
  })

  t.test('autoMigrate creates the tables, logs it, and does nothing the second time', async (t) => {
    const fresh = await createDatabase()
    t.teardown(fresh.drop)
    for (const expected of [1, 0]) {
      const { server, lines } = logTo()
      await roundTrip(t, await createApp(t, testOptions(fresh.url), { server }))
      t.equal(lines.filter(({ msg }) => msg === 'migrated the database').length, expected)
    }
  })

  t.test('autoMigrate passes on errors of the database', async (t) => {
    const other = await createDatabase()
    t.teardown(other.drop)
    const pool = openPool(t, { connectionString: other.url })
    await pool.query('create table auth_tokens_migration (id uuid primary key)')
    t.match(await refusal(t, testOptions(other.url)), { code: '42703', message: 'column "name" does not exist' })
  })
})

t.test('a connection that the server terminates during a statement fails only that request', async (t) => {
  const name = uniqueNamespace()
  const config = { connectionString: database.url, application_name: name }
  const given = openPool(t, config)
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: openPool(t, { ...config, Client: PreparedClient }) }) })
  for (const option of [config, given, db]) {
    const app = await createApp(t, testOptions(database.url, { database: option }))
    const { username } = await createUser(app)
    const holder = await observer.connect()
    await holder.query('begin')
    await holder.query('select 1 from users where username = $1 for update', [username])
    const reply = caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })
    const end = 'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and wait_event_type = \'Lock\''
    await until(async () => ((await holder.query(end, [name])).rowCount ?? 0) > 0, 'the login waits')
    t.equal((await reply).statusCode, 503)
    await holder.query('rollback')
    holder.release()
    await login(app, username)
  }
})

t.test('a database that answers each check slowly does not delay a degraded start', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  await (await createApp(t, testOptions(database.url, { start: 'degraded' }))).close()
  const url = new URL(database.url)
  const way = await createTcpProxy(t, { host: url.hostname, port: Number(url.port) })
  url.host = `127.0.0.1:${way.port}`
  const pool = openPool(t, { connectionString: url.href })
  await pool.query('select 1')
  // All checks together take longer than Fastify's plugin timeout of 10 s, but each takes less than 5 s.
  way.delay(450)
  const app = await createApp(t, { ...testOptions(database.url, { start: 'degraded' }), database: pool })
  way.pass()
  const login = async () => await app.inject({ method: 'POST', url: '/auth/login', payload: { username: 'nobody', password: 'number 8 has password' } })
  await until(async () => (await login()).statusCode === 401, 'it serves requests')
})
