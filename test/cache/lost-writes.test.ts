import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createRedisServer } from '../helpers/redis-server.js'
import type { RedisServer } from '../helpers/redis-server.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'

const database = await createDatabase()
t.teardown(database.drop)

/** A Redis whose data is replaced, while its connections stay, by the data that it had when `keep` was called. */
interface Replaced {
  redis: RedisServer
  keep (): Promise<void>
  replace (): Promise<void>
}

async function open (t: Test): Promise<{ redis: RedisServer, admin: Redis }> {
  const redis = await createRedisServer(t)
  await redis.start()
  const admin = new Redis(redis.url)
  t.teardown(() => admin.disconnect())
  return { redis, admin }
}

async function bySwap (t: Test): Promise<Replaced> {
  const { redis, admin } = await open(t)
  return {
    redis,
    async keep () { for (const key of await admin.keys('*')) await admin.call('COPY', key, key, 'DB', '5') },
    replace: async () => { await admin.swapdb(0, 5) }
  }
}

async function byReplication (t: Test): Promise<Replaced> {
  const { redis, admin } = await open(t)
  const other = await createRedisServer(t)
  return {
    redis,
    async keep () {
      await admin.save()
      await copyFile(join(redis.dir, 'dump.rdb'), join(other.dir, 'dump.rdb'))
    },
    async replace () {
      await other.start()
      await admin.replicaof('127.0.0.1', other.port)
      await until(async () => (await admin.info('replication')).includes('master_link_status:up'), 'it has the data of the other one')
      await admin.replicaof('NO', 'ONE')
    }
  }
}

t.test('what others write over the count of a server is overwritten, and no revocation fails of it', async (t) => {
  const { redis, admin } = await open(t)
  const options = testOptions(database.url, { redis: { url: redis.url }, cache: { namespace: uniqueNamespace() } })
  const app = await createApp(t, options)
  const { username } = await createUser(app)
  for (const write of [(key: string) => admin.set(key, 'x'), (key: string) => admin.del(key), (key: string) => admin.multi().del(key).lpush(key, 'x').exec()]) {
    const token = await login(app, username)
    const [key] = await admin.keys(`${options.cache!.namespace}server:*`) as [string]
    await write(key)
    t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
    t.match(await admin.get(key), /^\d+$/)
    await until(async () => (await app.tokenAuth.health()).cache === 'up', 'the catch-up is done')
  }
})

for (const [name, create] of Object.entries({ SWAPDB: bySwap, 'REPLICAOF, back and forth': byReplication })) {
  t.test(`servers notice that ${name} has brought back an ended token, while their connections stay`, async (t) => {
    const { redis, keep, replace } = await create(t)
    const options = testOptions(database.url, { redis: { url: redis.url }, cache: { namespace: uniqueNamespace() } })
    const servers = [await createApp(t, options), await createApp(t, options)]
    const { username } = await createUser(servers[0]!)
    const token = await login(servers[0]!, username)
    const statuses = async () => await Promise.all(servers.map(async (app) => (await caller(app)('GET', '/protected', { token })).statusCode))
    const admin = new Redis(redis.url)
    t.teardown(() => admin.disconnect())
    const entry = async () => await admin.get(`${options.cache!.namespace}t:${digestOf(token)}`)
    await until(async () => (await statuses()).every((status) => status === 200) && (await entry())?.[0] === 'V', 'the token is cached')
    await keep()
    t.equal((await caller(servers[0]!)('POST', '/auth/logout', { token })).statusCode, 204)
    t.same(await statuses(), [401, 401])
    await replace()
    await until(async () => (await entry())?.[0] === 'R', 'the tombstone is written again')
    await until(async () => (await statuses()).every((status) => status === 401), 'every server refuses it')
    await until(async () => (await servers[1]!.tokenAuth.health()).cache === 'up', 'and trusts the cache')
    t.same(await statuses(), [401, 401])
  })
}
