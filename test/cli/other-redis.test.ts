import { Redis } from 'ioredis'
import t from 'tap'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { cli } from '../helpers/cli.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { freshDatabase, query, redisUrl, uniqueNamespace } from '../helpers/services.js'

t.test('a command reports a Redis that no running server uses', async (t) => {
  const url = await freshDatabase(t)
  const namespace = uniqueNamespace()
  const other = await createRedisServer(t)
  await other.start()
  const right = { DATABASE_URL: url, REDIS_URL: redisUrl() }
  const wrong = { DATABASE_URL: url, REDIS_URL: other.url }
  const app = await createApp(t, testOptions(url, { cache: { namespace } }))
  const { username } = await createUser(app)
  const token = await login(app, username)
  t.equal((await caller(app)('GET', '/protected', { token })).statusCode, 200)
  const missed = { code: 1, out: '', err: /^fastify-token-auth: The sessions are ended in the database, but no running server uses the Redis of REDIS_URL with cache\.namespace ".*": servers on another Redis may accept them/ }
  t.match(await cli(['revoke-user', username], { env: wrong }), missed)
  t.match(await cli(['revoke-user', username], { env: right }), { code: 0, err: '' }, 'repeated with the right one')
  t.equal((await caller(app)('GET', '/protected', { token })).statusCode, 401)

  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  const [mark] = await redis.keys(`${namespace}servers:*`) as [string]
  await app.close()
  await redis.pexpire(mark, await redis.pttl(mark) - 30_000)
  t.match(await cli(['revoke-user', username], { env: right }), missed, 'servers have used it, but not in the last 30 s')
  await redis.del(mark)
  await redis.set(`${namespace}servers:of another database`, '', 'PX', 86_400_000)
  t.match(await cli(['revoke-user', username], { env: right }), missed, 'a Redis without their mark')
  await query("update auth_tokens_caches set seen_at = now() - interval '1 hour'", url)
  t.match(await cli(['revoke-user', username], { env: right }), { code: 0, err: '' }, 'no server runs')
})

t.test('registrations with tables of their own share a Redis and a namespace', async (t) => {
  const url = await freshDatabase(t)
  const namespace = uniqueNamespace()
  const env = { DATABASE_URL: url, REDIS_URL: redisUrl() }
  const flags = ['--users-table', 'staff', '--tokens-table', 'staff_tokens']
  const customers = await createApp(t, testOptions(url, { cache: { namespace } }))
  await query('create table staff (like users including all)', url)
  const staff = await createApp(t, testOptions(url, { cache: { namespace }, users: { table: 'staff' }, token: { table: 'staff_tokens' } }))
  const [{ username: member }, { username: customer }] = [await createUser(staff), await createUser(customers)]
  t.match(await cli(['revoke-user', member, ...flags], { env }), { code: 0, err: '' })
  t.match(await cli(['revoke-user', customer], { env }), { code: 0, err: '' })
})

t.test('REDIS_URL without a host is refused', async (t) => {
  t.match(await cli(['revoke-user', 'ann'], { env: { DATABASE_URL: 'postgres://127.0.0.1:1/x', REDIS_URL: 'redis://' } }), { code: 2, err: /REDIS_URL must name a host/ })
})
