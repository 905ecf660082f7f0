import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { Cluster } from 'ioredis'
import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createRedisCache } from '../../lib/cache/redis-cache.js'
import type { RedisCommands } from '../../lib/cache/redis-cache.js'
import { openRedis } from '../../lib/redis/client.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, testOptions } from '../helpers/app.js'
import { get, newDigest } from '../helpers/cache-contract.js'
import { field, HOST, startFleet } from '../helpers/redis-fleet.js'
import { freePorts } from '../helpers/ports.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { createTcpProxy } from '../helpers/tcp-proxy.js'
import { until } from '../helpers/until.js'
import { SILENT } from '../helpers/silent.js'

t.jobs = 3

/** Timeouts so long that only the cache itself breaks a connection. */
const NEVER = { socketTimeout: 600_000, commandTimeout: 60_000 }
const MEMORY_ONLY = ['save ""', 'appendonly no', 'repl-diskless-sync-delay 0']

/** A cache on an open connection, and the connection states that it has reported. */
async function openCache (t: Test, redis: Parameters<typeof openRedis>[0]) {
  const client = openRedis(redis, SILENT)
  t.teardown(() => client.disconnect())
  const namespace = uniqueNamespace()
  const cache = createRedisCache({ client: client as unknown as RedisCommands, namespace, readTimeoutMs: 50, close: async () => {} })
  const told: boolean[] = []
  cache.onConnection((isUp) => { told.push(isUp) })
  await client.connect()
  await until(() => told.at(-1) === true, 'it is connected')
  return { client, cache, namespace, told }
}

async function startServer (t: Test) {
  const server = await createRedisServer(t)
  await server.start()
  return server
}

t.test('a server that is silent for a second after an unanswered read gets a new connection', async (t) => {
  const server = await startServer(t)
  const { cache, told } = await openCache(t, { url: server.url, ...NEVER })
  server.freeze()
  await t.rejects(get(cache, newDigest()), { message: 'Redis did not answer within 50 ms' })
  await until(() => told.at(-1) === false, 'the connection is broken')
  server.thaw()
  await until(() => told.at(-1) === true, 'it is connected again')
  t.equal(await get(cache, newDigest()), null)
})

t.test('a server that does not answer a write gets a new connection too', async (t) => {
  const server = await startServer(t)
  const { cache, told } = await openCache(t, { url: server.url, ...NEVER, commandTimeout: 100 })
  server.freeze()
  await t.rejects(cache.tombstone([newDigest()], 60_000), { message: 'Command timed out' })
  await until(() => told.at(-1) === false, 'the connection is broken')
})

t.test('all masters of a Cluster get new connections too', async (t) => {
  const [port, bus] = await freePorts(2) as [number, number]
  const { ask, freeze, thaw } = await startFleet(t, [{ port, lines: [...MEMORY_ONLY, 'cluster-enabled yes', `cluster-port ${bus}`, `cluster-announce-ip ${HOST}`, 'cluster-config-file nodes.conf-state'] }])
  await ask(port, 'CLUSTER', 'ADDSLOTSRANGE', 0, 16_383)
  await until(async () => field(await ask(port, 'CLUSTER', 'INFO'), 'cluster_state') === 'ok', 'the cluster is up')
  const given = new Cluster([{ host: HOST, port }], { lazyConnect: true })
  const duplicate = given.duplicate.bind(given)
  given.duplicate = ((nodes: [], options: any) => duplicate(nodes, { ...options, redisOptions: { ...options.redisOptions, ...NEVER } })) as typeof given.duplicate
  t.teardown(() => given.disconnect())
  const { cache, told } = await openCache(t, given)
  freeze(port)
  await t.rejects(get(cache, newDigest()))
  await until(() => told.at(-1) === false, 'the connection is broken')
  thaw(port)
  await until(() => told.at(-1) === true, 'it is connected again')
  t.equal(await get(cache, newDigest()), null)
})

t.test('a slow server gets no new connection, whatever it answers', async (t) => {
  const way = await createTcpProxy(t, { port: (await startServer(t)).port })
  const { client, cache, namespace, told } = await openCache(t, { port: way.port, ...NEVER })
  const { stream } = client as Redis
  const [absent, foreign] = [newDigest(), newDigest()]
  await client.rpush(`${namespace}t:${foreign}`, 'a list')
  way.delay(100)
  for (const digest of [absent, foreign]) {
    let missed = 0
    const startedAt = performance.now()
    while (performance.now() - startedAt < 2000) await get(cache, digest).catch(() => { missed++ })
    t.ok(missed > 0)
  }
  t.equal((client as Redis).stream, stream)
  t.same(told, [true])
})

t.test('an old master that resumes is not read if its address leads to another server by then', async (t) => {
  const [master, replica] = await freePorts(2) as [number, number]
  const fleet = await startFleet(t, [{ port: master, lines: MEMORY_ONLY }, { port: replica, lines: [...MEMORY_ONLY, `replicaof ${HOST} ${master}`] }])
  await until(async () => field(await fleet.ask(replica, 'INFO', 'replication'), 'master_link_status') === 'up', 'the replica is in step')
  let target = master
  const address = createServer((socket) => {
    const upstream = connect(target, HOST)
    socket.pipe(upstream).pipe(socket)
    for (const [one, other] of [[socket, upstream], [upstream, socket]] as const) one.on('error', () => {}).on('close', () => other.destroy())
  }).listen(0, HOST)
  await once(address, 'listening')
  t.teardown(() => address.close())
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const namespace = uniqueNamespace()
  const { port } = address.address() as AddressInfo
  const open = (more = {}) => createApp(t, testOptions(url, { redis: { host: HOST, port, ...NEVER, commandTimeout: 5000 }, cache: { namespace, ...more } }))
  const status = async (app: FastifyInstance, token: string) => (await caller(app)('GET', '/protected', { token })).statusCode
  const connections = async () => String(await fleet.ask(replica, 'CLIENT', 'LIST')).match(/ name=fastify-token-auth/g)?.length
  const left = await open({ near: true })
  const { token } = await left.tokenAuth.issueToken((await createUser(left)).id)
  const key = `${namespace}t:${digestOf(token)}`
  t.equal(await status(left, token), 200)
  await until(async () => await status(left, token) === 200 && /^V/.test(await fleet.ask(replica, 'GET', key)), 'the entry is filled')

  fleet.freeze(master)
  await fleet.ask(replica, 'REPLICAOF', 'NO', 'ONE')
  target = replica
  await until(async () => await status(left, token) === 200 && await connections() === 2, 'both its connections go to the promoted server')
  const other = await open()
  t.equal((await caller(other)('POST', '/auth/logout', { token })).statusCode, 204)
  fleet.thaw(master)
  t.match(await fleet.ask(master, 'GET', key), /^V/, 'the old master has the entry')
  t.equal(await status(left, token), 401)
})
