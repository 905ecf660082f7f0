import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { caller } from '../../helpers/app.js'
import type { Row } from './row.js'
import { me } from './world.js'
import type { Cast, World } from './world.js'
import { until } from '../../helpers/until.js'

export const nothing = () => {}
export const limitMemory = async (admin: Redis, maxmemory: string, policy: string) => { await admin.config('SET', 'maxmemory', maxmemory, 'maxmemory-policy', policy) }
export const freeMemory = async (admin: Redis) => await limitMemory(admin, '0', 'noeviction')

/** Evicts every key, until the limit is removed. */
export async function evictEverything (admin: Redis): Promise<void> {
  await limitMemory(admin, '1', 'allkeys-random')
  await until(async () => await admin.dbsize() === 0, 'every key is evicted')
}

/** Values that no server writes: empty text, other shapes and versions, an entry without a seal, another type. */
const GARBAGE = ['', 'garbage', 'V', 'V{}', 'Vnull', `V${'x'.repeat(43)}{"v":1}`, 'RR', '\0', '0'.repeat(100_000)]

export async function scribble (admin: Redis, keys: string[]): Promise<void> {
  await Promise.all(keys.map(async (key, index) => {
    if (index % 5 === 4) return await admin.multi().del(key).lpush(key, 'garbage').pexpire(key, 5000).exec()
    return await admin.set(key, GARBAGE[index % GARBAGE.length]!, 'PX', 5000)
  }))
}

async function loseClients ({ admin, asked, other }: World): Promise<void> {
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  for (const server of [asked, other]) await until(async () => (await server.tokenAuth.health()).cache !== 'up', 'the loss is seen')
}

/** With the setting, Redis accepts no existing or new client. */
export function refusesClients (setting: string, { by, otherwise }: { by: string, otherwise: string }): Pick<Row, 'inject' | 'heal'> {
  return {
    async inject (world) {
      await world.admin.config('SET', setting, by)
      await loseClients(world)
    },
    heal: ({ admin }) => admin.config('SET', setting, otherwise)
  }
}

/** `save` fails as on a full disk, and Redis accepts no writes from then on. */
export async function failToSave ({ admin, redis }: World): Promise<void> {
  await mkdir(join(redis.dir, 'dump.rdb', 'in-the-way'), { recursive: true })
  await admin.config('SET', 'save', '3600 1')
  await admin.bgsave()
  await until(async () => /rdb_last_bgsave_status:err/.test(await admin.info('persistence')), 'Redis has not saved')
}

/** The next start needs seconds to load this. */
async function saveMuch (admin: Redis): Promise<void> {
  await admin.eval("for i = 1, 5000 do redis.call('SET', 'filler:' .. i, string.rep('x', 50), 'PX', 60000) end", 0)
  await admin.save()
}

export function isStillLoading (): Pick<Row, 'prepare' | 'inject' | 'heal'> {
  let started = Promise.resolve()
  return {
    prepare: ({ admin }) => saveMuch(admin),
    async inject ({ redis }) {
      await redis.kill()
      started = redis.start('--key-load-delay', '1000', '--loading-process-events-interval-bytes', '1024')
      const hasty = new Redis(redis.url, { enableReadyCheck: false, retryStrategy: () => 20, maxRetriesPerRequest: null })
      hasty.on('error', nothing)
      await until(async () => await hasty.ping().then(() => false, (error) => /LOADING/.test(error.message)), 'Redis is loading')
        .finally(() => hasty.disconnect())
    },
    async heal ({ redis }) {
      await started
      await rm(join(redis.dir, 'dump.rdb'))
    }
  }
}

export function isBusyWithAScript (): Pick<Row, 'inject' | 'heal'> {
  let script: Promise<unknown> = Promise.resolve()
  return {
    async inject ({ admin }) {
      await admin.config('SET', 'busy-reply-threshold', '1')
      const client = admin.duplicate()
      script = client.eval('while true do end', 0).catch(nothing).finally(() => client.disconnect())
      await until(async () => await admin.ping().then(() => false, (error) => /BUSY/.test(error.message)), 'Redis is busy')
    },
    async heal ({ admin }) {
      await admin.script('KILL')
      await script
    }
  }
}

/** Swaps two replies that arrive together, as for concurrent requests. */
function createSwap () {
  let count = 0
  return {
    swap (chunk: Buffer): Buffer {
      const [, one, other] = /^(\$\d+\r\n[^\r]+\r\n)(\$\d+\r\n[^\r]+\r\n)$/.exec(chunk.toString('latin1')) ?? []
      if (one === undefined || other === undefined) return chunk
      count++
      return Buffer.from(other + one, 'latin1')
    },
    count: () => count
  }
}

export async function crossReplies ({ asked, redisWay }: World, { cached, leaving, revoked }: Cast, t: Test): Promise<void> {
  const { swap, count } = createSwap()
  redisWay.alterReplies(swap)
  const sessionOf = async (token: string) => (await caller(asked)('GET', '/auth/me', { token })).json().session?.id
  const sessions = await Promise.all([cached, leaving].map(sessionOf))
  t.equal(new Set(sessions).size, 2)
  for (const [one, other] of [[cached, leaving], [cached, revoked], [revoked, leaving]] as const) {
    const before = count()
    const outcomes = await Promise.all([me(asked, one), me(asked, other)])
    t.ok(count() > before)
    t.same(outcomes, [one, other].map((token) => token === revoked ? '401 INVALID_TOKEN' : '200'))
  }
}
