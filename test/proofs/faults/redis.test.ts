import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createDatabase } from '../../helpers/services.js'
import { crossReplies, evictEverything, failToSave, freeMemory, isBusyWithAScript, isStillLoading, limitMemory, nothing, refusesClients, scribble } from './redis-faults.js'
import { complaintsOf, runRow } from './row.js'
import type { Row } from './row.js'
import { createWorld, keyOf, read } from './world.js'

const database = await createDatabase()
t.teardown(database.drop)
const world = await createWorld(t, database.url)

const WELL = { cached: '200', uncached: '200', login: '200', logout: '204', revoked: '401 INVALID_TOKEN' }
const PENDING = '503 REVOCATION_PENDING'
/** Redis acknowledges nothing: PostgreSQL answers, and a logout is pending. */
const SILENT = { ...WELL, logout: PENDING }
/** Redis comes back or is slow: whether it acknowledges in time depends on the moment. */
const UNSURE = { ...WELL, logout: ['204', PENDING] }

const rows: Row[] = [
  {
    name: 'absent when a server starts',
    inject: async ({ redis, boot }, _cast, t) => {
      await redis.kill()
      return await boot(t)
    },
    heal: ({ redis }) => redis.start(),
    answers: SILENT
  },
  {
    name: 'stopped',
    inject: ({ redis }) => redis.kill(),
    heal: ({ redis }) => redis.start(),
    answers: SILENT
  },
  {
    name: 'frozen',
    inject: async ({ redis }) => redis.freeze(),
    heal: ({ redis }) => redis.thaw(),
    answers: SILENT
  },
  {
    name: 'half-open: connections stay open, and nothing arrives',
    inject: async ({ redisWay }) => redisWay.freeze(),
    heal: ({ redisWay }) => redisWay.pass(),
    answers: SILENT
  },
  {
    name: 'slow: 300 ms for a round trip',
    inject: async ({ redisWay }) => redisWay.delay(150),
    heal: ({ redisWay }) => redisWay.pass(),
    answers: UNSURE
  },
  {
    name: 'flapping',
    inject: async ({ asked, other, redis, redisWay }, cast, t) => {
      for (let round = 0; round < 4; round++) {
        redis.freeze()
        const whileFrozen = await Promise.all([complaintsOf(asked, cast), complaintsOf(other, cast)])
        redis.thaw()
        const afterwards = await Promise.all([complaintsOf(asked, cast), complaintsOf(other, cast)])
        redisWay.reset()
        const whileLost = await complaintsOf(asked, cast)
        t.same([whileFrozen, afterwards, whileLost].flat(2), [], 'no live token is refused, and no revoked one accepted')
      }
    },
    heal: nothing,
    answers: UNSURE
  },
  {
    name: 'a replica, which answers READONLY to writes',
    inject: async ({ admin, asked, other }, { id }) => {
      const tokens = await Promise.all(Array.from({ length: 20 }, () => other.tokenAuth.issueToken(id)))
      await admin.replicaof('127.0.0.1', 1)
      await Promise.all(tokens.map(({ token }) => read(asked, token)))
    },
    heal: ({ admin }) => admin.replicaof('NO', 'ONE'),
    answers: SILENT
  },
  {
    name: 'full, with maxmemory-policy noeviction',
    inject: ({ admin }) => limitMemory(admin, '1', 'noeviction'),
    heal: ({ admin }) => freeMemory(admin),
    answers: SILENT
  },
  {
    name: 'full, and evicts every key',
    inject: ({ admin }) => evictEverything(admin),
    heal: ({ admin }) => freeMemory(admin),
    answers: SILENT
  },
  {
    name: 'has evicted every key, tombstones too',
    inject: async ({ admin }) => {
      await evictEverything(admin)
      await freeMemory(admin)
    },
    heal: nothing,
    answers: WELL
  },
  {
    name: 'restarted empty',
    inject: async ({ redis }) => {
      await redis.kill()
      await redis.start()
    },
    heal: nothing,
    answers: UNSURE
  },
  {
    name: 'restarted from an old snapshot, which has a revoked token as live',
    prepare: ({ admin }) => admin.save(),
    inject: async (world, { revoked }, t) => {
      const { redis, admin, redisWay, otherRedisWay } = world
      for (const way of [redisWay, otherRedisWay]) way.cut()
      await redis.kill()
      await redis.start()
      await rm(join(redis.dir, 'dump.rdb'))
      t.match(await admin.get(keyOf(world, revoked)), /^V/, 'Redis has the token as live')
      for (const way of [redisWay, otherRedisWay]) way.pass()
    },
    heal: nothing,
    answers: UNSURE
  },
  {
    name: 'has no scripts any more: NOSCRIPT',
    inject: async ({ admin }) => { await admin.script('FLUSH') },
    heal: nothing,
    answers: WELL
  },
  {
    name: 'garbage under every key',
    inject: async ({ admin }) => await scribble(admin, await admin.keys('*')),
    heal: nothing,
    answers: WELL
  },
  { name: 'refuses the credentials', ...refusesClients('requirepass', { by: 'another', otherwise: '' }), answers: SILENT },
  { name: 'has reached maxclients', ...refusesClients('maxclients', { by: '1', otherwise: '10000' }), answers: SILENT },
  {
    name: 'cannot save, and answers MISCONF to writes',
    inject: failToSave,
    async heal ({ admin, redis }) {
      await admin.config('SET', 'save', '')
      await rm(join(redis.dir, 'dump.rdb'), { recursive: true })
    },
    answers: SILENT
  },
  { name: 'is still loading', ...isStillLoading(), answers: UNSURE },
  { name: 'is busy with a script', ...isBusyWithAScript(), answers: SILENT },
  {
    name: 'replies that arrive swapped',
    inject: crossReplies,
    heal: ({ redisWay }) => redisWay.pass(),
    answers: WELL
  },
  {
    name: 'reset in the middle of a reply',
    inject: async ({ asked, redisWay }, { cached }, t) => {
      redisWay.cutReplies(40)
      t.equal(await read(asked, cached), '200', 'a partial entry is ignored')
    },
    heal: ({ redisWay }) => redisWay.pass(),
    answers: SILENT
  }
]

t.test('Redis', async (t) => {
  const warnings: Error[] = []
  const warned = (warning: Error) => { if (!/^(DeprecationWarning|ExperimentalWarning)$/.test(warning.name)) warnings.push(warning) }
  process.on('warning', warned)
  for (const row of rows) await t.test(row.name, (t) => runRow(t, world, row))
  process.removeListener('warning', warned)
  t.same(warnings, [], 'Node.js emits no warnings')
})
