import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { createDatabase } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import type { TcpProxy } from '../helpers/tcp-proxy.js'
import { until } from '../helpers/until.js'

interface World {
  proxy: TcpProxy
  /** Connected through the proxy. */
  client: pg.Client
  /** Resolves when the client's connection has ended. */
  ended: Promise<void>
  count (): Promise<number>
  isConnected (): Promise<boolean>
}

async function createWorld (t: Test): Promise<World> {
  const database = await createDatabase()
  const direct = new pg.Client({ connectionString: database.url })
  await direct.connect()
  await direct.query('create table rows (n int)')
  const url = new URL(database.url)
  const proxy = await createTcpProxy(t, { host: url.hostname, port: Number(url.port) })
  url.hostname = '127.0.0.1'
  url.port = String(proxy.port)
  const client = new pg.Client({ connectionString: url.href })
  client.on('error', () => {})
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()))
  await client.connect()
  const { rows: [{ pid }] } = await client.query('select pg_backend_pid() as pid')
  t.teardown(async () => {
    proxy.reset()
    await direct.end()
    await database.drop()
  })
  return {
    proxy,
    client,
    ended,
    count: async () => Number((await direct.query('select count(*) from rows')).rows[0].count),
    isConnected: async () => (await direct.query('select 1 from pg_stat_activity where pid = $1', [pid])).rows.length > 0
  }
}

const insert = 'insert into rows values (1)'
const isCommit = (chunk: Buffer) => chunk.includes('commit')

for (const at of ['sending', 'answering'] as const) {
  t.test(`a commit whose answer is lost while ${at} is still executed`, async (t) => {
    const { proxy, client, count } = await createWorld(t)
    proxy.loseAnswer({ to: isCommit, at })
    await client.query('begin')
    await client.query(insert)
    t.equal(proxy.lostAnswers, 0)
    await t.rejects(client.query('commit'))
    await until(async () => await count() === 1, 'the row exists')
    t.equal(proxy.lostAnswers, 1)
  })
}

t.test('if replies are frozen a statement is executed, and its answer arrives late', async (t) => {
  const { proxy, client, count } = await createWorld(t)
  proxy.freeze('reply')
  let isAnswered = false
  const inserted = client.query(insert).then(() => { isAnswered = true })
  await until(async () => await count() === 1, 'the row exists')
  t.equal(isAnswered, false)
  proxy.pass()
  await inserted
  await client.end()
})

t.test('if requests are frozen a statement arrives late', async (t) => {
  const { proxy, client, count } = await createWorld(t)
  proxy.freeze('request')
  const inserted = client.query(insert)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(await count(), 0)
  proxy.pass()
  await inserted
  t.equal(await count(), 1)
  await client.end()
})

t.test('if the connection to the client is half-closed, the server stays connected', async (t) => {
  const { proxy, ended, isConnected } = await createWorld(t)
  proxy.halfClose('reply')
  await ended
  t.equal(await isConnected(), true)
  proxy.pass()
  await until(async () => !await isConnected(), 'the server sees the end')
})

t.test('if the connection to the server is half-closed, the client stays connected', async (t) => {
  const { proxy, ended, isConnected } = await createWorld(t)
  let isEnded = false
  ended.then(() => { isEnded = true })
  proxy.halfClose('request')
  await until(async () => !await isConnected(), 'the server has ended')
  t.equal(isEnded, false)
  proxy.pass()
  await ended
})
