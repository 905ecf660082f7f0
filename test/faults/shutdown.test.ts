import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { createApp, createUser, PASSWORD, testOptions } from '../helpers/app.js'
import { until } from '../helpers/counting.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'

const SERVER = fileURLToPath(new URL('../helpers/server-process.ts', import.meta.url))
const READS = 20
/** Of the pool, the look-ups' half. */
const LOOKUPS = 5

const database = await createDatabase()
t.teardown(database.drop)

async function connect (): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** By default over a connection of its own, which ends with the reply: one that is kept alive would keep the server, too. */
async function ask (url: string, method: 'GET' | 'POST', headers: Record<string, string>, { body = '', agent = false }: { body?: string, agent?: Agent | false } = {}): Promise<number> {
  const sent = request(url, { method, headers, agent })
  sent.end(body)
  const [reply] = await once(sent, 'response')
  reply.resume()
  await once(reply, 'end')
  return reply.statusCode
}

/** A server in a process of its own, tokens for it, and the tables that it uses, which can be locked. */
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
  const child = spawn(process.execPath, [...process.execArgv, SERVER, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const exited = once(child, 'exit')
  const [port] = await once(child.stdout, 'data')
  const origin = `http://127.0.0.1:${String(port).trim()}`
  const read = async (token: string, agent: Agent | false = false) => await ask(`${origin}/protected`, 'GET', { authorization: `Bearer ${token}` }, { agent })

  return {
    used: used.token,
    tokens,
    read,
    logIn: async () => await ask(`${origin}/auth/login`, 'POST', { 'content-type': 'application/json' }, { body: JSON.stringify({ username, password: PASSWORD }) }),
    isUseNoted: async () => (await watch.query('select last_used_at > created_at as "isNoted" from auth_tokens where id = $1', [used.sessionId])).rows[0].isNoted,
    hold: async () => await holder.query('begin; lock table auth_tokens in access exclusive mode'),
    letGo: async () => await holder.query('commit'),
    untilWaiting: async (count: number) => await until(async () => {
      const { rows } = await watch.query("select count(*)::int from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'", [username])
      return rows[0].count === count
    }, 'the requests are under way'),
    async terminate () {
      child.kill('SIGTERM')
      await until(async () => await read(used.token).then(() => false, () => true), 'nobody listens any more')
    },
    exitCode: async () => (await exited)[0],
    isRunning: () => child.exitCode === null
  }
}

t.test('SIGTERM under load: what is under way is answered, nothing new is, and last uses are written', async (t) => {
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

t.test('last uses do not wait for a client that keeps its connection', async (t) => {
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
  t.ok(server.isRunning(), 'while the connection stands')
  agent.destroy()
  t.equal(await server.exitCode(), 0)
})
