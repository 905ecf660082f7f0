import { readFile } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import type { ClusterOptions } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { createRedisCache } from '../../lib/cache/redis-cache.js'
import type { RedisCommands } from '../../lib/cache/redis-cache.js'
import { openRedis } from '../../lib/redis/client.js'
import { digestOf } from '../../lib/crypto/token.js'
import type { AuthPluginOptions, TokenCache } from '../../lib/index.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { contract, get, newDigest } from '../helpers/cache-contract.js'
import { startLoad } from '../helpers/load.js'
import { startRedisCluster } from '../helpers/redis-cluster.js'
import type { RedisCluster } from '../helpers/redis-cluster.js'
import { cutReplication, field, HOST, replicated, startFleet } from '../helpers/redis-fleet.js'
import { freePorts } from '../helpers/ports.js'
import { startRedisSentinel } from '../helpers/redis-sentinel.js'
import { say } from '../helpers/say.js'
import { resolveUser } from '../helpers/near.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { SILENT } from '../helpers/silent.js'

// These tests spend most of their time waiting for timeouts of Redis.
t.jobs = 3

/** Long enough that a healthy Redis does not time out on a busy machine. */
const PATIENCE_MS = 30_000

const unhandled: unknown[] = []
process.on('unhandledRejection', (error) => { unhandled.push(error) })

type RedisSetting = () => NonNullable<AuthPluginOptions['redis']>

interface World { namespace: string, open (more?: Partial<AuthPluginOptions>): Promise<FastifyInstance> }

/** Servers that share a database and a namespace. */
async function createWorld (t: Test, redis: RedisSetting): Promise<World> {
  const database = await createDatabase()
  t.teardown(database.drop)
  const namespace = uniqueNamespace()
  return {
    namespace,
    open: ({ cache, ...more } = {}) => createApp(t, testOptions(database.url, { redis: redis(), ...more, cache: { namespace, ...cache } }))
  }
}

/** A Cluster that the plugin opens with a longer command timeout. */
function patient (cluster: Cluster): Cluster {
  const duplicate = cluster.duplicate.bind(cluster)
  cluster.duplicate = ((nodes: [], options: ClusterOptions) =>
    duplicate(nodes, { ...options, redisOptions: { ...options.redisOptions, commandTimeout: PATIENCE_MS } })) as typeof cluster.duplicate
  return cluster
}

const status = async (app: FastifyInstance, token: string) => (await caller(app)('GET', '/protected', { token })).statusCode
const isTrusted = async (app: FastifyInstance) => (await app.tokenAuth.health()).cache === 'up'
const trusted = (apps: FastifyInstance[]) => until(async () => (await Promise.all(apps.map(isTrusted))).every(Boolean), 'the servers trust the cache')

async function session (app: FastifyInstance): Promise<string> {
  return await login(app, (await createUser(app)).username)
}

/** Issues tokens without logins. */
async function issuer (app: FastifyInstance): Promise<() => Promise<string>> {
  const { id } = await createUser(app)
  return async () => (await app.tokenAuth.issueToken(id)).token
}

async function sessions (app: FastifyInstance, count: number): Promise<string[]> {
  const issue = await issuer(app)
  const tokens: string[] = []
  while (tokens.length < count) tokens.push(await issue())
  return tokens
}

const open = (redis: ReturnType<RedisSetting>) => openRedis(redis as Exclude<ReturnType<RedisSetting>, true>, SILENT)

/** A cache over a connected client that is opened as the plugin opens it. */
async function openCache (t: Test, redis: ReturnType<RedisSetting>): Promise<TokenCache> {
  const client = open(redis)
  t.teardown(() => client.disconnect())
  await client.connect()
  const cache = createRedisCache({ client: client as unknown as RedisCommands, namespace: uniqueNamespace(), readTimeoutMs: 5000, close: async () => client.disconnect() })
  await new Promise<void>((resolve) => cache.onConnection((isUp) => { if (isUp) resolve() }))
  return cache
}

/** The distinct results of reads of many keys. */
async function answers (cache: TokenCache): Promise<string[]> {
  const all = await Promise.all(Array.from({ length: 40 }, () => get(cache, newDigest()).then(() => 'nothing', () => 'failure')))
  return [...new Set(all)].sort()
}

const passTime = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms + 20))

/** Tests a session from login to logout, and the limits, on two servers. */
function life (t: Test, redis: RedisSetting): void {
  t.test('a session is accepted on all servers, and its logout applies to all of them', async (t) => {
    const { open } = await createWorld(t, redis)
    const [one, other] = [await open(), await open()]
    const [call, callOther] = [caller(one), caller(other)]
    const { username } = await createUser(one)
    const [token, second] = [await login(one, username), await login(other, username)]
    for (const ask of [call, callOther, call, callOther]) t.equal((await ask('GET', '/auth/me', { token })).json().user.username, username)
    t.equal((await callOther('GET', '/auth/sessions', { token })).json().sessions.length, 2)
    t.equal((await callOther('POST', '/auth/logout', { token })).statusCode, 204)
    t.equal(await status(one, token), 401)
    t.equal(await status(one, second), 200)
    const changed = await call('POST', '/auth/change-password', { token: second, body: { currentPassword: PASSWORD, newPassword: 'a new battery for the horse' } })
    t.equal(changed.statusCode, 200)
    t.equal(await status(other, second), 401)
    t.equal(await status(other, changed.json().token), 200)
    t.equal((await callOther('POST', '/auth/logout-all', { token: changed.json().token })).statusCode, 204)
    t.equal(await status(one, changed.json().token), 401)
  })

  t.test('a logout is final on servers with a near cache', async (t) => {
    const { open } = await createWorld(t, redis)
    const near = { cache: { near: { lease: '60s' } } }
    const [one, other] = [await open(near), await open(near)]
    const token = await session(one)
    for (const app of [one, other]) {
      await until(async () => {
        const users = [await resolveUser(app, token), await resolveUser(app, token)]
        return users[0] === users[1]
      }, 'requests share the entry')
    }
    t.equal((await caller(one)('POST', '/auth/logout', { token })).statusCode, 204)
    t.equal(await status(other, token), 401)
  })

  t.test('login limits and the single use of a captcha apply across servers', async (t) => {
    const { open } = await createWorld(t, redis)
    const attempts = async (servers: FastifyInstance[], body: object, count: number) => {
      const statuses: number[] = []
      for (let i = 0; i < count; i++) statuses.push((await caller(servers[i % 2]!)('POST', '/auth/login', { body })).statusCode)
      return statuses
    }
    const byAddress = { rateLimit: { max: 3, timeWindow: '1 minute' }, accountLimit: false as const }
    const byAccount = { accountLimit: { max: 3, delay: '1m' } }
    const wrong = { username: 'nobody', password: 'a wrong password' }
    t.same(await attempts([await open(byAddress), await open(byAddress)], { ...wrong, username: 'somebody' }, 5), [401, 401, 401, 429, 429])
    const guarded = [await open(byAccount), await open(byAccount)]
    t.same(await attempts(guarded, wrong, 5), [401, 401, 401, 429, 429])
    const asked = { captcha: async () => ({ ok: true as const }) }
    const { username } = await createUser(guarded[0]!)
    const right = { username, password: PASSWORD, captchaToken: 'an answer' }
    t.same(await attempts([await open(asked), await open(asked)], right, 2), [200, 403])
  })
}

interface Outage { begin (): Promise<void>, failedOver (): Promise<void> }

/** Sends live and revoked tokens to two servers while the outage happens. */
async function underLoad (t: Test, { open }: World, { begin, failedOver }: Outage): Promise<void> {
  const servers = [await open(), await open({ cache: { near: true } })]
  const live = await sessions(servers[0]!, 30)
  await trusted(servers)
  const load = startLoad({ servers, live, issue: await issuer(servers[1]!) })
  await until(() => (load.dead[401] ?? 0) > 20, 'revoked tokens are used')
  const startedAt = performance.now()
  await begin()
  await failedOver()
  const failedOverAt = performance.now()
  await trusted(servers)
  const recoveredAt = performance.now()
  const before = load.logouts[204] ?? 0
  await until(() => (load.logouts[204] ?? 0) > before + 10, 'logouts succeed again')
  await load.stop()
  say(`failover ${Math.round(failedOverAt - startedAt)} ms, trusted again ${Math.round(recoveredAt - failedOverAt)} ms later; ${load.requests()} requests: ` +
    `live ${JSON.stringify(load.live)}, revoked ${JSON.stringify(load.dead)}, logouts ${JSON.stringify(load.logouts)}`)
  t.match(Object.keys(load.live), /^200(,503)?$/, 'a live token is accepted or answered 503')
  t.match(Object.keys(load.dead), /^401(,503)?$/, 'a revoked token is never accepted')
  t.match(Object.keys(load.logouts), /^204(,503)?$/)
}

interface Replicated {
  ask: RedisCluster['ask']
  masterOf (key: string): Promise<number>
  /** The replica that is promoted when the master dies; `null` if there is none. */
  replicaOf (master: number): Promise<number | null>
  replicated (master: number): Promise<void>
  /** Stops the replication from the master. */
  cut (master: number): Promise<void>
  /** Kills the master, and resolves when the replica is the master. */
  fail (master: number): Promise<void>
}

const isEntry = (value: string | null) => value?.[0] === 'V'
const isTombstone = (value: string | null) => value?.[0] === 'R'

/** Issues a token whose key has a replica. */
async function replicatedSession ({ namespace }: World, redis: Pick<Replicated, 'masterOf' | 'replicaOf'>, server: FastifyInstance) {
  const issue = await issuer(server)
  for (;;) {
    const token = await issue()
    const key = `${namespace}t:${digestOf(token)}`
    const master = await redis.masterOf(key)
    const replica = await redis.replicaOf(master)
    if (replica !== null) return { token, key, master, replica }
  }
}

/** Logs out a token so that the master acknowledges its tombstone and no replica receives it. */
async function loseTombstone (t: Test, world: World, redis: Replicated, server: FastifyInstance) {
  const { token, key, master, replica } = await replicatedSession(world, redis, server)
  t.equal(await status(server, token), 200)
  await until(async () => await status(server, token) === 200 && isEntry(await redis.ask(master, 'GET', key)), 'the entry is filled')
  await redis.replicated(master)
  await redis.cut(master)
  t.equal((await caller(server)('POST', '/auth/logout', { token })).statusCode, 204)
  t.ok(isTombstone(await redis.ask(master, 'GET', key)), 'the master has acknowledged the tombstone')
  t.ok(isEntry(await redis.ask(replica, 'GET', key)), 'its replica has the entry and no tombstone')
  t.equal(await status(server, token), 401, 'the replica is not read')
  return { token, master, promoted: async () => await redis.ask(replica, 'GET', key) }
}

/** Closes the server that revoked the token: the remaining one must detect by itself that the master was replaced. */
async function rewritten (t: Test, world: World, redis: Replicated): Promise<void> {
  const [revoker, left] = [await world.open(), await world.open()]
  await trusted([revoker, left])
  const { token, master, promoted } = await loseTombstone(t, world, redis, revoker)
  await revoker.close()
  const load = startLoad({ servers: [left], live: [await session(left)] })
  load.revoked(token)
  await redis.fail(master)
  await until(async () => isTombstone(await promoted()), 'the tombstone is written again')
  await trusted([left])
  const before = load.dead[401] ?? 0
  await until(() => (load.dead[401] ?? 0) > before + 20, 'the revoked token is refused')
  await load.stop()
  t.match(Object.keys(load.dead), /^401(,503)?$/, 'the revoked token is never accepted')
}

t.test('on a Redis Cluster of three masters and three replicas', { buffered: true }, async (t) => {
  const cluster = await startRedisCluster(t)
  const redis = () => cluster.connect(t, { scaleReads: 'slave', maxRedirections: 16 })
  const fail = async (master: number) => {
    cluster.kill(master)
    await cluster.healthy()
  }

  await t.test('the cache', async (t) => contract(t, await openCache(t, patient(redis())), passTime))

  life(t, () => patient(redis()))

  await t.test('it needs no more permissions than docs/storage.md lists', async (t) => {
    const text = await readFile('docs/storage.md', 'utf8')
    const [, name, , ...rules] = /^ACL (SETUSER .*)$/m.exec(text)![1]!.split(' ')
    const more = /A Redis Cluster also needs `(.*?)`/.exec(text)![1]!.split(' ')
    const allowed = ['on', '>secret', ...rules.slice(1).map((rule) => rule === '~fta:*' ? '~*' : rule), ...more]
    for (const port of cluster.living()) await cluster.ask(port, 'ACL', 'SETUSER', name!, ...allowed)
    const cache = await openCache(t, cluster.connect(t, { redisOptions: { username: name!, password: 'secret' } }))
    t.same(await answers(cache), ['nothing'])
  })

  await t.test('a single Cluster node, configured by mistake as a standalone server, fails for the slots of the others', async (t) => {
    const cache = await openCache(t, { host: HOST, port: await cluster.masterOf('any') })
    t.same(await answers(cache), ['failure', 'nothing'])
  })

  await t.test('keys are spread over the masters, and each has an expiry', async (t) => {
    const world = await createWorld(t, redis)
    const app = await world.open()
    const masters = new Set<number>()
    for (const token of await sessions(app, 20)) {
      const key = `${world.namespace}t:${digestOf(token)}`
      t.equal(await status(app, token), 200)
      const master = await cluster.masterOf(key)
      await until(async () => await status(app, token) === 200 && isEntry(await cluster.ask(master, 'GET', key)), 'the entry is filled')
      t.ok(await cluster.ask(master, 'PTTL', key) > 0)
      masters.add(master)
    }
    t.equal(masters.size, 3)
  })

  await t.test('a revocation depends on the master of its own token alone', async (t) => {
    const { namespace, open } = await createWorld(t, redis)
    const app = await open()
    await trusted([app])
    const [key] = (await Promise.all(cluster.living().map((port) => cluster.ask(port, 'KEYS', `${namespace}server:*`)))).flat() as [string]
    const count = async () => await cluster.ask(await cluster.masterOf(key), 'GET', key)
    const before = await count()
    for (const token of await sessions(app, 3)) t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
    t.equal(await count(), before)
  })

  await t.test('the cache follows a slot that moves to another master, and its tombstones move too', async (t) => {
    const { namespace, open } = await createWorld(t, redis)
    const app = await open()
    await trusted([app])
    const [live, dead] = await sessions(app, 2) as [string, string]
    const keyOf = (token: string) => `${namespace}t:${digestOf(token)}`
    t.equal(await status(app, live), 200)
    t.equal((await caller(app)('POST', '/auth/logout', { token: dead })).statusCode, 204)
    await until(async () => await status(app, live) === 200 && isEntry(await cluster.ask(await cluster.masterOf(keyOf(live)), 'GET', keyOf(live))), 'the entry is filled')
    for (const token of [live, dead]) {
      const from = await cluster.masterOf(keyOf(token))
      const to = (await Promise.all(['a', 'b', 'c'].map(cluster.masterOf))).find((port) => port !== from)!
      await cluster.move(keyOf(token), to)
      t.equal(await status(app, token), token === live ? 200 : 401)
    }
    const call = caller(app)
    await until(async () => (await call('POST', '/auth/logout', { token: live })).statusCode === 204, 'the map is up to date')
    t.ok(isTombstone(await cluster.ask(await cluster.masterOf(keyOf(live)), 'GET', keyOf(live))))
    t.equal(await status(app, live), 401)
  })

  await t.test('during a failover under load no live token is refused and no revoked one is accepted', async (t) => {
    const world = await createWorld(t, redis)
    const master = await cluster.masterOf(world.namespace)
    await underLoad(t, world, { begin: async () => { cluster.kill(master) }, failedOver: cluster.healthy })
  })

  await t.test('an acknowledged tombstone that a failover lost is rewritten before the promoted replica is trusted', async (t) => {
    const cut = async (master: number) => cutReplication(cluster, master, [await cluster.replicaOf(master) as number])
    await rewritten(t, await createWorld(t, redis), { ...cluster, cut, fail })
  })

  await t.test('a master that hangs is replaced, and its slots are used again', async (t) => {
    const world = await createWorld(t, redis)
    const app = await world.open()
    await trusted([app])
    const { token, key, master: hung } = await replicatedSession(world, cluster, app)
    cluster.freeze(hung)
    const reply = await caller(app)('POST', '/auth/logout', { token })
    t.equal(reply.statusCode, 503)
    t.equal(await status(app, token), 401, 'PostgreSQL is queried')
    await cluster.healthy()
    await until(async () => isTombstone(await cluster.ask(await cluster.masterOf(key), 'GET', key)), 'the tombstone is in the promoted replica')
    await trusted([app])
    t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
    t.equal(await status(app, token), 401)
  })
})

t.test('with Sentinel', { buffered: true }, async (t) => {
  const sentinel = await startRedisSentinel(t)
  const redis = () => sentinel.options
  const first = await sentinel.master()

  const patiently = () => ({ ...redis(), commandTimeout: PATIENCE_MS })

  await t.test('the cache', async (t) => contract(t, await openCache(t, patiently()), passTime))

  life(t, patiently)

  await t.test('while a master and a Sentinel hang, no live token is refused and no revoked one is accepted', async (t) => {
    const world = await createWorld(t, redis)
    sentinel.freezeSentinel(sentinel.sentinels[0]!)
    await underLoad(t, world, {
      begin: async () => sentinel.freeze(first),
      failedOver: async () => { await sentinel.failedOver(first) }
    })
  })

  await t.test('an acknowledged tombstone that a failover lost is rewritten before the promoted replica is trusted', async (t) => {
    sentinel.thaw(first)
    const master = sentinel.replicas[0]!
    // The Sentinels would do this ten seconds later.
    await sentinel.ask(first, 'REPLICAOF', HOST, master)
    await sentinel.follows(first, master)
    await rewritten(t, await createWorld(t, redis), {
      ask: sentinel.ask,
      masterOf: async () => master,
      replicaOf: async () => first,
      replicated: () => sentinel.replicated(master),
      cut: () => cutReplication(sentinel, master, [first, ...sentinel.replicas.slice(1)]),
      async fail () {
        sentinel.kill(master)
        await sentinel.failedOver(master)
      }
    })
  })
})

t.test('a server connected to a replica reads nothing from it until it is promoted and has the recent tombstones', async (t) => {
  const MEMORY_ONLY = ['save ""', 'appendonly no', 'repl-diskless-sync-delay 0']
  const [master, replica] = await freePorts(2) as [number, number]
  const fleet = await startFleet(t, [{ port: master, lines: MEMORY_ONLY }, { port: replica, lines: [...MEMORY_ONLY, `replicaof ${HOST} ${master}`] }])
  await until(async () => field(await fleet.ask(replica, 'INFO', 'replication'), 'master_link_status') === 'up', 'the replica is in step')
  let on = master
  const world = await createWorld(t, () => ({ host: HOST, port: on }))
  const cache = { ttl: 60_000 }
  const revoker = await world.open({ cache })
  await trusted([revoker])
  on = replica
  const bystander = await world.open({ cache })
  const { token, promoted } = await loseTombstone(t, world, {
    ask: fleet.ask,
    masterOf: async () => master,
    replicaOf: async () => replica,
    replicated: () => replicated(fleet, master),
    cut: () => cutReplication(fleet, master, [replica]),
    fail: async () => {}
  }, revoker)
  t.equal(await status(bystander, token), 401, 'it is looked up in SQL')
  t.not((await bystander.tokenAuth.health()).cache, 'up')
  fleet.kill(master)
  await fleet.ask(replica, 'REPLICAOF', 'NO', 'ONE')
  await trusted([bystander])
  t.ok(isTombstone(await promoted()), 'the lost tombstone is rewritten')
  t.equal(await status(bystander, token), 401)
})

t.test('a Redis Cluster client that is closed while it refreshes its slots starts no further refresh', async (t) => {
  const [nobody] = await freePorts(1) as [number]
  const client = openRedis(new Cluster([{ host: HOST, port: nobody }], { lazyConnect: true }), SILENT) as Cluster
  let rounds = 0
  client.refreshSlotsCache(() => { rounds++ })
  t.equal(rounds, 1)
  client.disconnect()
  client.refreshSlotsCache(() => { rounds++ })
  t.equal(rounds, 1)
})

t.test('a Redis Cluster that is unreachable at the start delays no request', async (t) => {
  const [nobody] = await freePorts(1) as [number]
  const { open } = await createWorld(t, () => new Cluster([{ host: HOST, port: nobody }], { lazyConnect: true }))
  const failures: string[] = []
  const app = await open({ rateLimit: { max: 100, timeWindow: '1 minute' }, cache: { near: true }, hooks: { onCacheError: ({ error }) => { failures.push(error.message) } } })
  const { username } = await createUser(app)
  const token = await login(app, username)
  t.equal(await status(app, token), 200)
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 503)
  t.equal(await status(app, token), 401)
  t.ok(failures.length > 0)
  t.same(failures.filter((message) => /tim|long/.test(message)), [], 'no command waits for it')
})

t.test('a Redis Cluster without a node for a slot fails for the keys of that slot', async (t) => {
  const [port, bus] = await freePorts(2) as [number, number]
  const lines = ['save ""', 'cluster-enabled yes', `cluster-port ${bus}`, 'cluster-config-file nodes.conf-state', 'cluster-require-full-coverage no', `cluster-announce-ip ${HOST}`]
  const { ask } = await startFleet(t, [{ port, lines }])
  await ask(port, 'CLUSTER', 'ADDSLOTSRANGE', 0, 8191)
  await until(async () => field(await ask(port, 'CLUSTER', 'INFO'), 'cluster_state') === 'ok', 'the cluster is up')
  const cluster = new Cluster([{ host: HOST, port }], { lazyConnect: true })
  t.teardown(() => cluster.disconnect())
  const cache = await openCache(t, cluster)
  t.same(await answers(cache), ['failure', 'nothing'])
})

t.test('a read that was sent before a reconnection is rejected', async (t) => {
  const client = new Redis(redisUrl())
  const cache = createRedisCache({ client: client as unknown as RedisCommands, namespace: uniqueNamespace(), readTimeoutMs: 5000, close: async () => client.disconnect() })
  t.teardown(cache.close)
  await new Promise<void>((resolve) => cache.onConnection(() => resolve()))
  const digest = newDigest()
  t.equal(await get(cache, digest), null)
  const asked = Promise.allSettled([get(cache, digest), cache.getOrLease(digest, 'L1', 1000)])
  client.emit('ready')
  for (const answer of await asked) t.match(answer, { status: 'rejected', reason: { message: 'Redis was replaced before it answered' } })
  t.equal(await get(cache, digest), 'L1')
})

t.test('a replica is never read, because it may lack the latest revocations', async (t) => {
  t.throws(() => open({ role: 'slave', sentinels: [{ host: HOST, port: 1 }], name: 'fta', lazyConnect: true }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION' })
  const given = new Redis({ role: 'slave', sentinels: [{ host: HOST, port: 1 }], name: 'fta', lazyConnect: true })
  t.equal((open(given) as Redis).options.role, 'master')
})

t.test('there was no unhandled rejection', async (t) => {
  t.same(unhandled, [])
})
