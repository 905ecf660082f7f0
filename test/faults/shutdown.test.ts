import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import t from 'tap'
import { createApp, createUser, PASSWORD, testOptions } from '../helpers/app.js'
import { until } from '../helpers/counting.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'

const SERVER = fileURLToPath(new URL('../helpers/server-process.ts', import.meta.url))
const NAME = 'server-that-ends'
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

/** Over a connection of its own, which ends with the reply: one that is kept alive would keep the server, too. */
async function ask (url: string, method: 'GET' | 'POST', headers: Record<string, string>, body = ''): Promise<number> {
  const sent = request(url, { method, headers, agent: false })
  sent.end(body)
  const [reply] = await once(sent, 'response')
  reply.resume()
  await once(reply, 'end')
  return reply.statusCode
}

t.test('SIGTERM under load: what is under way is answered, nothing new is, and last uses are written', async (t) => {
  const cache = { namespace: uniqueNamespace() }
  const app = await createApp(t, testOptions(database.url, { cache }))
  const { id, username } = await createUser(app)
  const used = await app.tokenAuth.issueToken(id)
  const tokens = await Promise.all(Array.from({ length: READS }, async () => (await app.tokenAuth.issueToken(id)).token))
  const [watch, holder] = [await connect(), await connect()]
  const lastUseOf = async () => (await watch.query('select last_used_at > created_at as "isNoted" from auth_tokens where id = $1', [used.sessionId])).rows[0].isNoted

  const patient = { statement_timeout: 20_000, lock_timeout: 20_000 }
  const options = {
    database: { connectionString: database.url, application_name: NAME, ...patient },
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

  const read = async (token: string) => await ask(`${origin}/protected`, 'GET', { authorization: `Bearer ${token}` })
  const logIn = async () => await ask(`${origin}/auth/login`, 'POST', { 'content-type': 'application/json' }, JSON.stringify({ username, password: PASSWORD }))

  t.equal(await read(used.token), 200)
  t.equal(await lastUseOf(), false, 'the last use waits to be written')

  await holder.query('begin')
  await holder.query('lock table auth_tokens in access exclusive mode')
  const reads = tokens.map(read)
  const login = logIn()
  await until(async () => {
    const { rows } = await watch.query("select count(*)::int from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'", [NAME])
    return rows[0].count === LOOKUPS + 1
  }, 'look-ups and the login are under way')

  child.kill('SIGTERM')
  await until(async () => await read(used.token).then(() => false, () => true), 'nobody listens any more')
  await holder.query('commit')
  t.same(await Promise.all(reads), tokens.map(() => 200))
  t.equal(await login, 200)
  t.equal((await exited)[0], 0)
  t.equal(await lastUseOf(), true)
})
