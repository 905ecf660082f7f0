import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { PreparedClient } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { createSql } from '../../lib/sql/gateway.js'
import { isGivenUp, watchClient } from '../../lib/sql/unusable-clients.js'
import { caller, createApp, createUser, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase, query } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { openKysely, openPool } from '../helpers/pools.js'

const database = await createDatabase()
t.teardown(database.drop)

const MAX = 4
const LIMITS = { statement_timeout: 60_000, lock_timeout: 60_000, idle_in_transaction_session_timeout: 60_000, idleTimeoutMillis: 0 }

interface World {
  pool: pg.Pool
  app: FastifyInstance
  /** Codes of the errors that PostgreSQL has returned on the pool's connections. */
  codes: string[]
  /** Runs the statement on every connection of the full pool, without the plugin. */
  onEach (statement: string): Promise<void>
}

/** A proxy that delivers ReadyForQuery separately from the reply, and later. */
async function createSplittingWay (t: Test): Promise<string> {
  const url = new URL(database.url)
  const target = { host: url.hostname, port: Number(url.port), noDelay: true }
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect(target)
    for (const socket of [client, upstream]) socket.on('error', () => {})
    client.on('close', () => upstream.destroy()).pipe(upstream)
    upstream.on('close', () => client.destroy())
    let before = Promise.resolve<unknown>(null)
    upstream.on('data', (chunk) => {
      const ready = chunk.at(-6) === 0x5a ? 6 : 0
      before = before.then(async () => {
        if (!client.destroyed) client.write(chunk.subarray(0, chunk.length - ready))
        await new Promise((resolve) => setTimeout(resolve, 5))
        if (!client.destroyed && ready > 0) client.write(chunk.subarray(chunk.length - ready))
      })
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return url.href
}

interface Setup { Client?: typeof pg.Client, asKysely?: boolean, connectionString?: string }

async function createWorld (t: Test, { Client = PreparedClient, asKysely = false, connectionString = database.url }: Setup = {}): Promise<World> {
  const codes: string[] = []
  const pool = openPool(t, { connectionString, max: MAX, Client, ...LIMITS })
  pool.on('connect', (client) => { (client as pg.Client).connection.on('errorMessage', ({ code }) => { codes.push(code) }) })
  const option: AuthPluginOptions['database'] = asKysely ? new Kysely<any>({ dialect: new PostgresDialect({ pool }) }) : pool
  const app = await createApp(t, testOptions(database.url, { database: option, lookup: { maxWait: '1m', timeout: '20s' } }))
  async function onEach (statement: string): Promise<void> {
    const clients = await Promise.all(Array.from({ length: MAX }, () => pool.connect()))
    for (const client of clients) await client.query(statement)
    for (const client of clients) client.release()
  }
  return { pool, app, codes, onEach }
}

/** Prepares the plugin's named statement on every connection of the full pool, and resolves to the name. */
async function prepareOnEach ({ pool, app }: World): Promise<string> {
  await readCold(app)
  const clients = await Promise.all(Array.from({ length: MAX }, () => pool.connect()))
  const found = await Promise.all(clients.map((client) => client.query("select name, statement from pg_prepared_statements where name like 'fta\\_%'")))
  const { name, statement } = found.flatMap(({ rows }) => rows)[0]!
  for (const client of clients) await client.query(statement, [Buffer.alloc(32)])
  for (const client of clients) client.release()
  return name
}

/** Looks up a token that is in no cache yet. */
async function readCold (app: FastifyInstance): Promise<number> {
  const { id } = await createUser(app)
  const { token } = await app.tokenAuth.issueToken(id)
  return (await caller(app)('GET', '/auth/me', { token })).statusCode
}

async function logIn (app: FastifyInstance): Promise<number> {
  const { username } = await createUser(app)
  return (await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode
}

/** Makes so many lookups that every connection is used. */
async function readAll (app: FastifyInstance): Promise<number[]> {
  const { id } = await createUser(app)
  const issued = await Promise.all(Array.from({ length: 3 * MAX }, async () => await app.tokenAuth.issueToken(id)))
  return await Promise.all(issued.map(async ({ token }) => (await caller(app)('GET', '/auth/me', { token })).statusCode))
}

const all = (status: number) => Array.from({ length: 3 * MAX }, () => status)

async function namesOn ({ pool }: World): Promise<string[]> {
  const { rows } = await pool.query("select name from pg_prepared_statements where name like 'fta\\_%'")
  return rows.map(({ name }) => name)
}

t.test('a named statement stays valid when the type of a column changes', async (t) => {
  const world = await createWorld(t)
  const { app, codes } = world
  const name = await prepareOnEach(world)
  for (const type of ['varchar', 'text']) {
    await query(`alter table users alter username type ${type}`, database.url)
    codes.length = 0
    t.same(await readAll(app), all(200))
    t.same(codes, [], 'its result is always one text')
    t.same(await namesOn(world), [name])
  }
})

const LOST: [code: string, how: string, statement: (name: string) => string][] = [
  ['26000', 'no longer exists', () => 'deallocate all'],
  ['08P01', 'has been replaced', (name) => `deallocate all; prepare ${name} as select 1`]
]

for (const [code, how, statement] of LOST) {
  t.test(`if a named statement ${how} (${code}), it is sent without a name from then on`, async (t) => {
    const world = await createWorld(t)
    const { app, codes, onEach } = world
    await onEach(statement(await prepareOnEach(world)))
    codes.length = 0
    t.same(await readAll(app), all(200))
    t.equal(codes[0], code)
    await onEach('deallocate all')
    codes.length = 0
    t.same(await readAll(app), all(200))
    t.same(codes, [])
    t.same(await namesOn(world), [])
  })
}

t.test('if the name of a statement is taken (42P05), it is sent without a name from then on', async (t) => {
  const name = await createWorld(t).then(async (world) => {
    await readCold(world.app)
    await world.app.close()
    return (await namesOn(world))[0]!
  })
  const { app, codes, onEach } = await createWorld(t)
  await onEach(`prepare ${name} as select 1`)
  t.same(await readAll(app), all(200))
  t.equal(codes[0], '42P05')
  codes.length = 0
  t.same(await readAll(app), all(200))
  t.same(codes, [])
})

t.test('an error of PostgreSQL about the statement itself does not cause a retry', async (t) => {
  const client = new PreparedClient(database.url)
  await client.connect()
  t.teardown(() => client.end())
  await t.rejects(client.query('/*fta_0123456789abcdef*/ select 1 / $1::int', [0]), { code: '22012' })
})

const split = { connectionString: await createSplittingWay(t) }
const FORMS: Record<string, Setup> = {
  'a pool of PreparedClients': {},
  'a pool of plain clients': { Client: pg.Client },
  'a Kysely over PreparedClients': { asKysely: true },
  'a pool of PreparedClients, with split replies': split,
  'a pool of plain clients, with split replies': { Client: pg.Client, ...split },
  'a Kysely over PreparedClients, with split replies': { asKysely: true, ...split }
}

for (const [form, setup] of Object.entries(FORMS)) {
  t.test(`connections that a failover left read-only are discarded at the first write: ${form}`, async (t) => {
    const { pool, app, codes, onEach } = await createWorld(t, setup)
    const { username } = await createUser(app)
    await onEach('set default_transaction_read_only = on')
    t.equal((await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode, 200)
    t.same(codes, Array.from({ length: MAX }, () => '25006'))
    t.ok(pool.totalCount <= MAX)
    await onEach('set default_transaction_read_only = on')
    const { id } = await createUser(app)
    t.ok((await app.tokenAuth.issueToken(id)).token, 'also with a single statement')
  })
}

t.test('a read-only server causes no endless reconnects, and is used once it is writable again', async (t) => {
  const { app, pool, codes } = await createWorld(t)
  const { username } = await createUser(app)
  const logIn = async () => (await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode
  const [name] = [new URL(database.url).pathname.slice(1)]
  await query(`alter database ${name} set default_transaction_read_only = on`, database.url)
  let opened = 0
  pool.on('connect', () => { opened++ })
  for (const client of await Promise.all(Array.from({ length: MAX }, () => pool.connect()))) client.release(true)
  opened = codes.length = 0
  t.equal(await logIn(), 503)
  t.ok(opened <= MAX)
  await query(`alter database ${name} reset default_transaction_read_only`, process.env['DATABASE_URL'] as string)
  await until(async () => await logIn() === 200, 'new connections may write')
})

t.test('a connection whose transaction the host has left open is not returned to the pool', async (t) => {
  const { pool, app } = await createWorld(t, { Client: pg.Client })
  const { id } = await createUser(app)
  const { token } = await app.tokenAuth.issueToken(id)
  const clients = await Promise.all(Array.from({ length: MAX }, () => pool.connect()))
  for (const client of clients) {
    await client.query('begin')
    await client.query('select 1')
    client.release()
  }
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
  t.same(await query(`select 1 from auth_tokens where user_id = '${String(id)}' and revoked_at is null`, database.url), [], 'it is committed')
  t.equal(await logIn(app), 200)
})

t.test('a client that is checked out when the plugin starts, or that cannot be watched, is ignored', async (t) => {
  const pool = openPool(t, { connectionString: database.url, max: MAX, ...LIMITS })
  const lent = await pool.connect()
  await createApp(t, testOptions(database.url, { database: pool }))
  await lent.query('begin')
  lent.release()
  t.equal(pool.totalCount > 0, true)
  t.doesNotThrow(() => watchClient({} as pg.Client, { pool: {}, rests: 0 }))
  for (const error of [null, undefined, 'text', new Error('of somebody else')]) t.equal(isGivenUp(error), false)
})

t.test('a statement is retried once per pool connection, and a read once after a lost connection', async (t) => {
  const { run, read } = createSql(openKysely(t, database.url), { connections: MAX })
  const ended = new pg.Client(database.url)
  await ended.connect()
  await ended.end()
  let tries = 0
  const onEnded = async () => { tries++; return await ended.query('select 1') }
  await t.rejects(run(onEnded), { code: 'FST_TOKEN_AUTH_UNAVAILABLE', cause: { message: /^Client was closed/ } })
  t.equal(tries, MAX + 1)

  const pool = openPool(t, { connectionString: database.url, Client: PreparedClient })
  const onLost = async () => { tries++; return await pool.query('select pg_terminate_backend(pg_backend_pid())') }
  for (const [attempt, expected] of [[run, 1], [read, 2]] as const) {
    tries = 0
    await t.rejects(attempt(onLost), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    t.equal(tries, expected)
  }
})
