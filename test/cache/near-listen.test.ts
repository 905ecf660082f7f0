import { Kysely, PostgresDialect } from 'kysely'
import t from 'tap'
import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../lib/index.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { cli } from '../helpers/cli.js'
import { createPair, createServer, logout, session } from '../helpers/near.js'
import type { Server } from '../helpers/near.js'
import { noPgBouncer, startPgBouncer } from '../helpers/pgbouncer.js'
import { countingPool, openPool } from '../helpers/pools.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { refusal } from '../helpers/start.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)
const pool = openPool(t, { connectionString: database.url, max: 2 })
const WITHOUT_REDIS = { redis: null, cache: { near: { lease: '60s' } } }
const LISTENING = "select pid from pg_stat_activity where datname = current_database() and query like 'listen %'"

const status = async (app: Server['app'], token: string) => (await caller(app)('GET', '/protected', { token })).statusCode

t.test('without Redis, a token is refused by every server once its end is answered', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, WITHOUT_REDIS)
  const [token, other] = [await session(a), await session(a)]
  for (const server of [a, b]) for (const each of [token, other]) await warm(server, each)
  t.equal(await logout(a, token), 204)
  t.equal(await b.get(token), 401)
  for (const server of [a, b]) t.equal(await server.get(other), 200)
})

t.test('an ended token that is sent again costs no query on the server that ended it', async (t) => {
  const { a, warm, cost } = await createPair(t, database.url, WITHOUT_REDIS)
  const token = await session(a)
  await warm(a, token)
  t.equal(await logout(a, token), 204)
  t.same(await cost(a, token), [])
  t.equal(await a.get(token), 401)
})

t.test('a revocation of 400 sessions fits into the messages of PostgreSQL', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { ...WITHOUT_REDIS, token: { maxPerUser: 1000 } })
  const { id } = await createUser(a.app)
  const tokens: string[] = []
  for (let i = 0; i < 20; i++) tokens.push(...await Promise.all(Array.from({ length: 20 }, async () => (await a.app.tokenAuth.issueToken(id)).token)))
  await warm(b, tokens[0]!)
  await Promise.all(tokens.map(b.get))
  t.equal(await a.app.tokenAuth.revokeUser(id), 400)
  t.same([...new Set(await Promise.all(tokens.map(b.get)))], [401])
})

t.test('while it does not listen, a server forgets what it knew', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, WITHOUT_REDIS)
  const token = await session(a)
  for (const server of [a, b]) await warm(server, token)
  const { rows } = await pool.query<{ pid: number }>(LISTENING)
  t.equal(rows.length, 2)
  b.statements.length = 0
  await pool.query('select pg_terminate_backend(pid) from pg_stat_activity where pid = any($1)', [rows.map(({ pid }) => pid)])
  await until(async () => { await b.get(token); return b.statements.some((text) => text.includes('fta_')) }, 'its memory is empty')
  for (const server of [a, b]) await warm(server, token)
  t.equal(await logout(a, token), 204)
  t.equal(await b.get(token), 401)
})

t.test('a command reaches servers without Redis', async (t) => {
  const { a, b, warm } = await createPair(t, database.url, { ...WITHOUT_REDIS, cache: { near: { lease: '1s' } } })
  const { username } = await createUser(a.app)
  const token = await login(a.app, username)
  for (const server of [a, b]) await warm(server, token)
  t.match(await cli(['revoke-user', username], { env: { DATABASE_URL: database.url } }), { code: 0, err: '' })
  for (const server of [a, b]) t.equal(await server.get(token), 401)
})

t.test('without Redis, a Kysely has no connection to listen on', async (t) => {
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: openPool(t, { connectionString: database.url }) }) })
  const options = { database: db, redis: null, cache: { near: true } } satisfies Partial<AuthPluginOptions>
  t.match(await refusal(t, testOptions(database.url, options as never)), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /^cache\.near without redis needs a connection for LISTEN: pass database as a pg\.Pool/ })
  const { pool, statements } = countingPool(t, database.url)
  const near = { connection: { connectionString: database.url } }
  const app = await createApp(t, testOptions(database.url, { ...options, database: new Kysely<any>({ dialect: new PostgresDialect({ pool }) }), cache: { near } } as never))
  const token = await login(app, (await createUser(app)).username)
  await isWarm(app, statements, token)
})

async function isWarm (app: Server['app'], statements: string[], token: string): Promise<void> {
  await until(async () => {
    statements.length = 0
    return await status(app, token) === 200 && !statements.some((text) => text.includes('fta_'))
  }, 'the near cache is used')
}

t.test('behind PgBouncer in transaction mode, a server needs a direct connection to listen on', { skip: noPgBouncer }, async (t: Test) => {
  const url = await startPgBouncer(t, database.url)
  const through = { ...WITHOUT_REDIS, database: { connectionString: url } }
  const [lost, direct] = [
    await createServer(t, database.url, uniqueNamespace(), { ...through, cache: { near: { lease: '1s' } } }),
    await createServer(t, database.url, uniqueNamespace(), { ...through, cache: { near: { lease: '1s', connection: { connectionString: database.url } } } })
  ]
  await until(() => lost.failures.some(({ error }) => error.message === 'messages of this server do not reach it'), 'it is reported')
  await until(async () => (await pool.query('select from auth_tokens_members')).rowCount === 1, 'only one is a member')
  const token = await session(lost)
  t.equal(await direct.get(token), 200)
  t.equal(await logout(lost, token), 204)
  t.equal(await direct.get(token), 401)
})
