import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { PreparedClient } from '../../../lib/index.js'
import { createLastUsed } from '../../../lib/services/last-used.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../../helpers/app.js'
import { cli, spawnCli, spawnNode, start as serve } from '../../helpers/cli.js'
import { createPostgresServer, noPostgres } from '../../helpers/postgres-server.js'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import { SERVER, withoutLoaders } from '../../helpers/processes.js'
import { createTcpProxy } from '../../helpers/tcp-proxy.js'
import { createDatabase, freshDatabase, redisUrl, uniqueNamespace } from '../../helpers/services.js'
import { until } from '../../helpers/until.js'

const READS = 20
/** Half of the pool, which is the limit of concurrent lookups. */
const LOOKUPS = 5

const database = await createDatabase()
t.teardown(database.drop)

async function connect (connectionString = database.url): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  // Its database may be dropped before it is closed.
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** Uses a separate connection by default, which ends with the reply: a keep-alive connection would keep the server running. */
async function ask (url: string, method: 'GET' | 'POST', headers: Record<string, string>, { body = '', agent = false }: { body?: string, agent?: Agent | false } = {}): Promise<number> {
  const sent = request(url, { method, headers, agent })
  sent.end(body)
  const [reply] = await once(sent, 'response')
  reply.resume()
  await once(reply, 'end')
  return reply.statusCode
}

async function postPassword (origin: string, username: string): Promise<number> {
  return await ask(`${origin}/auth/login`, 'POST', { 'content-type': 'application/json' }, { body: JSON.stringify({ username, password: PASSWORD }) })
}

/** A server in a separate process, tokens for it, and a lock for the tables that it uses. */
async function openServer (t: Test) {
  const cache = { namespace: uniqueNamespace() }
  const app = await createApp(t, testOptions(database.url, { cache }))
  const { id, username } = await createUser(app)
  const used = await app.tokenAuth.issueToken(id)
  const tokens = await Promise.all(Array.from({ length: READS }, async () => (await app.tokenAuth.issueToken(id)).token))
  const [watch, holder] = [await connect(), await connect()]

  const patient = { statement_timeout: 20_000, lock_timeout: 20_000 }
  const options = {
    database: { connectionString: database.url, application_name: username, ...patient },
    redis: { url: redisUrl() },
    rateLimit: false,
    lookup: { timeout: '20s', maxWait: '20s' },
    cache
  }
  const child = spawn(process.execPath, [SERVER, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'], env: withoutLoaders() })
  t.teardown(() => { child.kill('SIGKILL') })
  const exited = once(child, 'exit')
  const [port] = await once(child.stdout, 'data')
  const origin = `http://127.0.0.1:${String(port).trim()}`
  const read = async (token: string, agent: Agent | false = false) => await ask(`${origin}/protected`, 'GET', { authorization: `Bearer ${token}` }, { agent })

  return {
    used: used.token,
    tokens,
    read,
    logIn: async () => await postPassword(origin, username),
    isUseNoted: async () => (await watch.query('select last_used_at > created_at as "isNoted" from auth_tokens where id = $1', [used.sessionId])).rows[0].isNoted,
    hold: async () => await holder.query('begin; lock table auth_tokens in access exclusive mode'),
    letGo: async () => await holder.query('commit'),
    untilWaiting: async (count: number) => await until(async () => {
      const { rows } = await watch.query("select count(*)::int from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'", [username])
      return rows[0].count === count
    }, 'the requests are in progress'),
    async terminate () {
      child.kill('SIGTERM')
      await until(async () => await read(used.token).then(() => false, () => true), 'the server no longer listens')
    },
    exitCode: async () => (await exited)[0],
    isRunning: () => child.exitCode === null
  }
}

t.test('after SIGTERM under load requests in progress are answered, new ones are not, and last uses are written', async (t) => {
  const server = await openServer(t)
  t.equal(await server.read(server.used), 200)
  t.equal(await server.isUseNoted(), false, 'the last use waits to be written')

  await server.hold()
  const reads = server.tokens.map((token) => server.read(token))
  const login = server.logIn()
  await server.untilWaiting(LOOKUPS + 1)
  await server.terminate()
  await server.letGo()
  t.same(await Promise.all(reads), server.tokens.map(() => 200))
  t.equal(await login, 200)
  t.equal(await server.exitCode(), 0)
  t.equal(await server.isUseNoted(), true)
})

t.test('last uses are written although a client keeps its connection open', async (t) => {
  const server = await openServer(t)
  const agent = new Agent({ keepAlive: true })
  t.equal(await server.read(server.used), 200)

  await server.hold()
  const kept = server.read(server.tokens[0]!, agent)
  await server.untilWaiting(1)
  await server.terminate()
  await server.letGo()
  t.equal(await kept, 200)
  await until(server.isUseNoted, 'the last use is written')
  t.ok(server.isRunning(), 'while the connection is open')
  agent.destroy()
  t.equal(await server.exitCode(), 0)
})

/** The processes that must end, connected to this PostgreSQL: a host's server with the plugin, and `serve`. Each has a function that reads the origin from its output. */
const processes = {
  'the plugin': (t: Test, { url }: PostgresServer) => {
    const options = { database: { connectionString: url }, redis: { url: redisUrl() }, cache: { namespace: uniqueNamespace() }, rateLimit: false, lookup: { timeout: '1s' } }
    return { ...spawnNode(t, [SERVER, JSON.stringify(options)]), originOf: (out: string) => out.replace(/^(\d+)\n$/, 'http://127.0.0.1:$1') }
  },
  serve: (t: Test, { url }: PostgresServer) => {
    const running = spawnCli(t, ['serve', '--port', '0', '--no-demo'], { DATABASE_URL: url, REDIS_URL: redisUrl() })
    return { ...running, originOf: (out: string) => /Listening on (\S+)/.exec(out)?.[1] ?? '' }
  }
}

for (const [name, start] of Object.entries(processes)) {
  t.test(`SIGTERM ends the process even if PostgreSQL hangs: ${name}`, { skip: noPostgres }, async (t) => {
    const postgres = await createPostgresServer(t)
    await postgres.start()
    const maker = await createApp(t, testOptions(postgres.url))
    const { id, username } = await createUser(maker)
    const [used, other] = [await maker.tokenAuth.issueToken(id), await maker.tokenAuth.issueToken(id)]
    await maker.close()

    const { child, out, result, originOf } = start(t, postgres)
    await until(() => originOf(out()).startsWith('http'), 'the server listens')
    const origin = originOf(out())
    const me = async (headers: Record<string, string>) => await ask(`${origin}/auth/me`, 'GET', headers)
    t.equal(await me({ authorization: `Bearer ${used.token}` }), 200, 'a last use waits to be written')

    await postgres.freeze()
    const underWay = [me({ authorization: `Bearer ${other.token}` }), postPassword(origin, username)]
    t.equal(await me({}), 401, 'the earlier requests have arrived too')
    child.kill('SIGTERM')
    t.same(await Promise.all(underWay), [503, 503])
    await until(() => child.exitCode !== null || child.signalCode !== null, 'the process ends')
    t.match(await result, { code: 0, err: '' })
  })
}

t.test('a server can close while its start still waits for a database that hangs', async (t) => {
  await (await createApp(t, testOptions(database.url))).close()
  const { hostname, port } = new URL(database.url)
  const proxy = await createTcpProxy(t, { host: hostname, port: Number(port) })
  proxy.cut()
  const through = new URL(database.url)
  through.host = `127.0.0.1:${proxy.port}`
  const name = uniqueNamespace()
  const app = await createApp(t, testOptions('', {
    database: { connectionString: through.href, application_name: name, statement_timeout: 0, lock_timeout: 0 },
    start: 'degraded',
    lookup: { timeout: '300ms' }
  }))
  const [watch, holder] = [await connect(), await connect()]
  await holder.query('begin; lock table auth_tokens in access exclusive mode')
  proxy.pass()
  await until(async () => {
    const { rowCount } = await watch.query("select from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock' and query like '%where false'", [name])
    return rowCount === 1
  }, 'the start queries the tables')
  let isClosed = false
  app.close().then(() => { isClosed = true })
  await until(() => isClosed, 'it closes').finally(async () => await holder.query('commit'))
})

t.test('serve handles a signal while it waits for the database to create the demo user', async (t) => {
  const url = await freshDatabase(t)
  await cli(['migrate'], { env: { DATABASE_URL: url } })
  const [watch, holder] = await Promise.all([url, url].map(async (url) => await connect(url)))
  await holder!.query("begin; insert into users (username, password_hash) values ('demo', 'none')")
  const serving = serve(['serve', '--port', '0'], { env: { DATABASE_URL: url } })
  await until(async () => {
    const { rowCount } = await watch!.query("select from pg_stat_activity where datname = current_database() and query ~ '^(select 1 from|insert into) \"users\"' and query not like '%where%'")
    return rowCount === 1
  }, 'the insert of the demo user waits for the other transaction')
  serving.signal()
  t.match(await serving.result, { code: 0, err: '' })
})

t.test('last uses that cannot be written are retried once at the end, however many callers wait', async (t) => {
  const tries: ((error: Error) => void)[] = []
  const touch = () => new Promise<void>((_resolve, reject) => {
    tries.push(reject)
    if (tries.length > 2) reject(new Error('once too often'))
  })
  const logger = { info () {}, warn () {}, error () {} }
  const { note, flush, close } = createLastUsed({ touch, intervalMs: 3_600_000, now: Date.now, databaseNow: Date.now, logger })
  note({ sessionId: 'a', idleAtMs: null } as Parameters<typeof note>[0])
  const waits = [flush(), flush(), flush(), close()]
  tries[0]!(new Error('it hangs'))
  await waits[0]
  await until(() => tries.length === 2, 'it is retried')
  tries[1]!(new Error('it still hangs'))
  await Promise.all(waits)
  t.equal(tries.length, 2)
})

t.test('idle connections that PostgreSQL closes during a restart do not end the process', { skip: noPostgres }, async (t) => {
  const postgres = await createPostgresServer(t)
  await postgres.start()
  const own = new pg.Pool({ connectionString: postgres.url, Client: PreparedClient })
  own.on('error', () => {})
  // Only the plugin listens to the errors of this pool.
  const bare = new pg.Pool({ connectionString: postgres.url })
  const forms: [pg.Pool, pg.Pool | Kysely<any>][] = [[bare, bare], [own, new Kysely({ dialect: new PostgresDialect({ pool: own }) })]]
  for (const [pool, option] of forms) {
    t.teardown(() => pool.end())
    const app = await createApp(t, testOptions(postgres.url, { database: option }))
    const { username } = await createUser(app)
    t.ok(pool.idleCount > 0)
    await postgres.stop()
    await until(() => pool.totalCount === 0, 'the pool has closed its connections')
    await postgres.start()
    t.equal((await caller(app)('GET', '/protected', { token: await login(app, username) })).statusCode, 200)
  }
})
