import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { openRedis } from '../../lib/redis/client.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, testOptions } from '../helpers/app.js'
import { HOST, startFleet } from '../helpers/redis-fleet.js'
import { freePorts } from '../helpers/ports.js'
import { startRedisSentinel } from '../helpers/redis-sentinel.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import { until } from '../helpers/until.js'
import { SILENT } from '../helpers/silent.js'

t.jobs = 3

const NAME = 'fta'
/** The first byte of TLS. */
const CLIENT_HELLO = 0x16
/** Long enough that Redis and the Sentinels do not time out on a busy machine. */
const PATIENT = { commandTimeout: 30_000, connectTimeout: 30_000, socketTimeout: 30_000, sentinelCommandTimeout: 30_000 }

const at = (port: number) => ({ host: HOST, port })
const status = async (app: FastifyInstance, token: string) => (await caller(app)('GET', '/protected', { token })).statusCode

function open (t: Test, options: RedisOptions): Redis {
  const client = openRedis({ name: NAME, ...PATIENT, ...options }, SILENT) as Redis
  t.teardown(() => client.disconnect())
  return client
}

const portOf = (client: Redis) => client.stream.remotePort

/** A Sentinel that never considers its server down. */
function sentinelOf ({ port, server, epoch }: { port: number, server: number, epoch: number }) {
  const lines = [`monitor ${NAME} ${HOST} ${server} 1`, `config-epoch ${NAME} ${epoch}`, `down-after-milliseconds ${NAME} 600000`]
  return { port, isSentinel: true, lines: lines.map((line) => `sentinel ${line}`) }
}

/** Independent Redis servers, and a Sentinel for each that names it as the master, with the epochs 1, 2, ... */
async function startRivals (t: Test, count: number) {
  const ports = await freePorts(2 * count)
  const [servers, sentinels] = [ports.slice(0, count), ports.slice(count)]
  const fleet = await startFleet(t, [
    ...servers.map((port) => ({ port, lines: ['save ""', 'appendonly no'] })),
    ...sentinels.map((port, i) => sentinelOf({ port, server: servers[i]!, epoch: i + 1 }))
  ])
  return { fleet, servers, sentinels }
}

t.test('a server does not read an old master that resumes after a failover', async (t) => {
  const sentinel = await startRedisSentinel(t)
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const cache = { namespace: uniqueNamespace() }
  const start = (more: object = {}) => createApp(t, testOptions(url, { redis: { ...sentinel.options, ...PATIENT }, cache: { ...cache, ...more } }))
  const left = await start({ near: true })
  const { token } = await left.tokenAuth.issueToken((await createUser(left)).id)
  const [old, promoted] = [await sentinel.master(), sentinel.replicas[0]!]
  const key = `${cache.namespace}t:${digestOf(token)}`
  t.equal(await status(left, token), 200)
  await until(async () => await status(left, token) === 200 && /^V/.test(await sentinel.ask(old, 'GET', key)), 'the entry is filled')

  sentinel.freeze(old)
  await sentinel.failedOver(old)
  const names = async () => [...String(await sentinel.ask(promoted, 'CLIENT', 'LIST')).matchAll(/ name=(fastify-token-auth\S*)/g)].map(([, name]) => name).sort()
  await until(async () => (await names()).length === 2, 'both its connections go to the new master, although it sent the old one no command')
  t.same(await names(), ['fastify-token-auth', 'fastify-token-auth-near'])
  const other = await start()
  t.equal((await caller(other)('POST', '/auth/logout', { token })).statusCode, 204)

  sentinel.thaw(old)
  t.match(await sentinel.ask(old, 'GET', key), /^V/, 'the old master has the entry')
  t.same((await sentinel.ask(old, 'ROLE'))[0], 'master', 'and considers itself the master')
  t.equal(await status(left, token), 401)
})

t.test('the Sentinel with the highest epoch decides', async (t) => {
  const { fleet, servers: [older, newer], sentinels: [stale, current] } = await startRivals(t, 2)
  const way = await createTcpProxy(t, { port: stale! })
  let answers = 0
  way.alterReplies((chunk) => { answers++; return chunk })
  fleet.freeze(current!)
  const client = open(t, { sentinels: [at(way.port), at(current!)] })
  await client.connect()
  t.equal(portOf(client), older, 'a Sentinel that hangs is not waited for')
  const moved = until(() => client.status === 'ready' && portOf(client) === newer, 'it connects to the newer one')
  fleet.thaw(current!)
  await moved

  const { stream } = client
  const before = answers
  await until(() => answers > before + 2, 'the stale one is queried again')
  t.equal(client.stream, stream, 'the connection is kept')
  stream.destroy()
  await once(client, 'ready')
  t.equal(portOf(client), newer)
})

t.test('a newer answer that names the same master breaks no connection, and an older answer is ignored', async (t) => {
  const { fleet, servers: [server], sentinels: [first, second] } = await startRivals(t, 2)
  const ways = await Promise.all([first!, second!].map((port) => createTcpProxy(t, { port })))
  const answers = [0, 0]
  ways.forEach((way, i) => way.alterReplies((chunk) => { answers[i]!++; return chunk }))
  const answered = async (i: number) => {
    const before = answers[i]!
    await until(() => answers[i]! > before + 2, 'it answers')
  }
  fleet.freeze(second!)
  const client = open(t, { sentinels: ways.map(({ port }) => at(port)) })
  await client.connect()
  const { stream } = client
  fleet.kill(first!)
  await startFleet(t, [sentinelOf({ port: first!, server: server!, epoch: 3 })])
  await answered(0)
  fleet.thaw(second!)
  await answered(1)
  t.equal(client.stream, stream)
  t.equal(portOf(client), server)
})

t.test('addresses are translated by natMap', async (t) => {
  const { servers: [server], sentinels: [sentinel] } = await startRivals(t, 1)
  const [elsewhere] = await freePorts(1) as [number]
  const way = await createTcpProxy(t, { port: server! })
  const named = `${HOST}:${server}`
  for (const natMap of [{ [named]: at(way.port) }, (address: string) => address === named ? at(way.port) : null]) {
    const client = open(t, { sentinels: [at(sentinel!)], natMap })
    await client.connect()
    t.equal(portOf(client), way.port)
  }
  const client = open(t, { sentinels: [at(sentinel!)], natMap: { [`${HOST}:${elsewhere}`]: at(way.port) } })
  await client.connect()
  t.equal(portOf(client), server, 'other addresses are unchanged')
})

t.test('Sentinels that the configured ones know are queried too, unless updateSentinels is false', async (t) => {
  const { sentinels, options, killSentinel } = await startRedisSentinel(t)
  const given = [options.sentinels[0]!]
  const asking = new Redis(sentinels[0]!, HOST)
  t.teardown(() => asking.disconnect())
  asking.on('error', () => {})
  // A Sentinel that the first one has heard of, but is not connected to, is not queried.
  const known = async () => (await asking.call('SENTINEL', 'SENTINELS', options.name) as string[][]).filter((fields) => !fields.join().includes('disconnected'))
  await until(async () => (await known()).length === sentinels.length - 1, 'the Sentinels are connected to each other')
  let isAlive = true
  const knowing = open(t, { sentinels: given })
  const ignorant = open(t, { sentinels: given, updateSentinels: false, sentinelRetryStrategy: () => isAlive ? 20 : null })
  await Promise.all([knowing.connect(), ignorant.connect()])
  killSentinel(sentinels[0]!)
  isAlive = false
  const ended = new Promise<void>((resolve) => ignorant.on('end', resolve))
  // It may need a second attempt, and then emits an error for the first.
  const ready = new Promise<void>((resolve) => knowing.on('ready', resolve))
  for (const client of [knowing, ignorant]) client.stream.destroy()
  await ready
  await ended
})

t.test('a client needs no more Sentinel permissions than docs/storage.md lists', async (t) => {
  const { fleet, servers: [server], sentinels: [sentinel] } = await startRivals(t, 1)
  const [, rights] = /A user of the Sentinels \(`sentinelUsername`\) needs\s+`(.*?)`/.exec(await readFile('docs/storage.md', 'utf8'))!
  await fleet.ask(sentinel!, 'ACL', 'SETUSER', 'fta', 'on', '>secret', '-@all', ...rights!.split(' '))
  const client = open(t, { sentinels: [at(sentinel!)], sentinelUsername: 'fta', sentinelPassword: 'secret' })
  await client.connect()
  t.equal(portOf(client), server)
})

t.test('a client waits for Sentinels that are unreachable', async (t) => {
  const [server, sentinel] = await freePorts(2) as [number, number]
  const client = open(t, { sentinels: [{ port: sentinel, host: HOST }] })
  const connected = client.connect()
  await once(client, 'error')
  await startFleet(t, [
    { port: server, lines: [] },
    sentinelOf({ port: sentinel, server, epoch: 1 })
  ])
  await connected
  t.equal(portOf(client), server)
})

t.test('a client that is closed while it searches for the master stays closed', async (t) => {
  const [nobody] = await freePorts(1) as [number]
  const client = open(t, { sentinels: [at(nobody)] })
  const connected = client.connect()
  await once(client, 'error')
  client.disconnect()
  await t.rejects(connected, { message: 'Connection is closed.' })
  t.equal(client.status, 'end')
})

t.test('the connection to the master uses TLS if enableTLSForSentinelMode is true', async (t) => {
  const first: number[] = []
  const server = createServer((socket) => socket.on('error', () => {}).once('data', ([byte]) => { first.push(byte!); socket.destroy() })).listen(0, HOST)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const [sentinel] = await freePorts(1) as [number]
  const { port } = server.address() as AddressInfo
  await startFleet(t, [sentinelOf({ port: sentinel, server: port, epoch: 1 })])
  const tries = async (more: RedisOptions) => {
    const client = open(t, { sentinels: [at(sentinel)], tls: {}, retryStrategy: null, ...more })
    await client.connect().catch(() => {})
    return first.includes(CLIENT_HELLO)
  }
  t.notOk(await tries({}))
  t.ok(await tries({ enableTLSForSentinelMode: true }))
})
