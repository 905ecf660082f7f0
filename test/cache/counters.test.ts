import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import type { CompiledQuery } from 'kysely'
import t from 'tap'
import type { Test } from 'tap'
import { createCounters } from '../../lib/throttle/counters.js'
import { checkTables } from '../../lib/sql/startup-checks.js'
import { createMemoryCounters } from '../../lib/throttle/memory-counters.js'
import { createPseudonyms } from '../../lib/crypto/pseudonym.js'
import { createServerKey } from '../../lib/sql/server-key.js'
import { createRedisCounters } from '../../lib/throttle/redis-counters.js'
import { openRedis } from '../../lib/redis/client.js'
import type { RedisClient } from '../../lib/redis/client.js'
import { createSql } from '../../lib/sql/gateway.js'
import { createTokenStore } from '../../lib/sql/tokens.js'
import { createUserStore } from '../../lib/sql/users.js'
import type { AttemptRules, FailureCounters } from '../../lib/throttle/failure-counters.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { redisUrl, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { openMigrated } from '../helpers/pools.js'
import { SILENT } from '../helpers/silent.js'

const MINUTE = 60_000
// Waits much longer than any test takes, because the clock of Redis cannot be stopped.
const RULES: AttemptRules = { free: 5, delayMs: MINUTE, maxDelayMs: 60 * MINUTE, forgetMs: 1440 * MINUTE }

let keys = 0
const newKey = () => `key-${keys++}`

async function takeMany (store: FailureCounters, key: string, count: number, rules = RULES) {
  const taken = []
  for (let i = 0; i < count; i++) taken.push(await store.take(key, rules))
  return taken
}

/** A wait that began a moment ago. */
function isAbout (t: Test, actual: number, expected: number, what?: string): void {
  t.ok(actual <= expected && actual > expected - MINUTE / 2, `${what ?? 'wait'}: ${actual} of ${expected}`)
}

/** Tests what every store must do. `passTime` advances the clock of a counter by `ms` milliseconds. */
function contract (t: Test, store: FailureCounters, passTime: (key: string, ms: number) => void | Promise<void>): void {
  t.test('allows the free attempts at once and makes the next one wait', async (t) => {
    const key = newKey()
    const attempts = await takeMany(store, key, 6)
    t.same(attempts.map(({ isAllowed }) => isAllowed), [true, true, true, true, true, false])
    t.same(attempts.map(({ failures }) => failures), [0, 1, 2, 3, 4, 5])
    t.ok(attempts.slice(0, 5).every(({ waitMs }) => waitMs === 0))
    isAbout(t, attempts[5]!.waitMs, MINUTE)
    t.equal((await store.take(newKey(), RULES)).isAllowed, true, 'another key')
  })

  t.test('allows no more than the free attempts of 50 concurrent ones', async (t) => {
    const key = newKey()
    const attempts = await Promise.all(Array.from({ length: 50 }, () => store.take(key, RULES)))
    t.equal(attempts.filter(({ isAllowed }) => isAllowed).length, 5)
    t.equal(new Set(attempts.map(({ id }) => id)).size, 50)
  })

  t.test('doubles the wait at each further failure, up to maxDelayMs, and allows one attempt after each', async (t) => {
    const key = newKey()
    await takeMany(store, key, 5)
    for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60]) {
      const waitMs = minutes * MINUTE
      isAbout(t, (await store.take(key, RULES)).waitMs, waitMs)
      await passTime(key, waitMs)
      t.equal((await store.take(key, RULES)).isAllowed, true, `after ${minutes} minutes`)
    }
    for (let i = 0; i < 60; i++) {
      await passTime(key, 60 * MINUTE)
      await store.take(key, RULES)
    }
    const { failures, waitMs } = await store.take(key, RULES)
    t.equal(failures, 73)
    isAbout(t, waitMs, 60 * MINUTE)
  })

  t.test('changes nothing on an attempt that has to wait', async (t) => {
    const key = newKey()
    await takeMany(store, key, 5)
    await passTime(key, MINUTE / 4)
    const refused = await takeMany(store, key, 3)
    t.same(refused.map(({ failures }) => failures), [5, 5, 5])
    for (const { waitMs } of refused) isAbout(t, waitMs, 3 * MINUTE / 4)
  })

  t.test('giveBack removes an attempt, and the wait that it started', async (t) => {
    const key = newKey()
    const attempts = await takeMany(store, key, 5)
    await store.giveBack(key, attempts[4]!.id)
    const last = await store.take(key, RULES)
    t.match(last, { isAllowed: true, failures: 4 })
    await store.giveBack(key, attempts[0]!.id)
    t.match(await store.take(key, RULES), { isAllowed: false, failures: 4 }, 'another attempt started the wait')
    for (const { id } of [...attempts.slice(1, 4), last, last]) await store.giveBack(key, id)
    t.match(await store.take(key, RULES), { isAllowed: true, failures: 0 }, 'the count never falls below zero')
  })

  t.test('giveBack of an unknown attempt changes nothing', async (t) => {
    const key = newKey()
    await store.giveBack(key, 'an id')
    t.match(await store.take(key, RULES), { isAllowed: true, failures: 0 })
  })

  t.test('giveBack of an earlier attempt keeps the wait of the last one', async (t) => {
    const key = newKey()
    const [, , , , fifth] = await takeMany(store, key, 5)
    await passTime(key, MINUTE)
    await store.take(key, RULES)
    await store.giveBack(key, fifth!.id)
    const { isAllowed, failures, waitMs } = await store.take(key, RULES)
    t.same({ isAllowed, failures }, { isAllowed: false, failures: 5 })
    isAbout(t, waitMs, 2 * MINUTE)
  })

  t.test('counts a failed attempt like one in progress', async (t) => {
    const key = newKey()
    const attempts = await takeMany(store, key, 4)
    for (const { id } of attempts) await store.fail(key, id)
    const fifth = await store.take(key, RULES)
    t.match(fifth, { isAllowed: true, failures: 4 })
    await store.fail(key, fifth.id)
    t.match(await store.take(key, RULES), { isAllowed: false, failures: 5 })
  })

  t.test('settles an attempt only once', async (t) => {
    const key = newKey()
    const [first, second] = await takeMany(store, key, 2)
    await store.fail(key, first!.id)
    await store.giveBack(key, first!.id)
    await store.fail(key, first!.id)
    await store.fail(key, 'an id')
    t.match(await store.take(key, RULES), { failures: 2 })
    await store.giveBack(key, second!.id)
    await store.fail(key, second!.id)
    t.match(await store.take(key, RULES), { failures: 2 })
  })

  t.test('a success clears the failures of a key and its wait', async (t) => {
    const [key, other] = [newKey(), newKey()]
    for (const name of [key, other]) {
      for (const { id } of await takeMany(store, name, 5)) await store.fail(name, id)
    }
    await store.succeed(key, null)
    t.match(await store.take(key, RULES), { isAllowed: true, failures: 0 })
    t.equal((await store.take(other, RULES)).isAllowed, false)
  })

  t.test('a success removes only its own attempt of those in progress', async (t) => {
    const key = newKey()
    const attempts = await takeMany(store, key, 5)
    for (const { id } of attempts.slice(0, 2)) await store.fail(key, id)
    await store.succeed(key, attempts[4]!.id)
    const next = await takeMany(store, key, 4)
    t.same(next.map(({ isAllowed }) => isAllowed), [true, true, true, false], 'two are still in progress')
    for (const { id } of attempts.slice(2, 4)) await store.fail(key, id)
    t.match(await store.take(key, RULES), { isAllowed: false, failures: 5 }, 'and fail later')
  })

  t.test('allows at most the limit of attempts in progress, however many succeed', async (t) => {
    const key = newKey()
    await takeMany(store, key, 4)
    for (let i = 0; i < 10; i++) {
      const [right, more] = await takeMany(store, key, 2)
      t.same([right!.isAllowed, more!.isAllowed], [true, false])
      await store.succeed(key, right!.id)
    }
  })

  t.test('counts an attempt that is never settled as failed after ten minutes', async (t) => {
    const key = newKey()
    const [first] = await takeMany(store, key, 3)
    await passTime(key, 5 * MINUTE)
    await takeMany(store, key, 1)
    await passTime(key, 5 * MINUTE)
    await store.giveBack(key, first!.id)
    await store.fail(key, first!.id)
    t.match(await store.take(key, RULES), { isAllowed: true, failures: 4 })
    await store.succeed(key, null)
    t.match(await store.take(key, RULES), { isAllowed: true, failures: 2 }, 'and a success clears it')
  })

  t.test('tracks a limited number of attempts in progress, and counts the oldest beyond it as failed', async (t) => {
    const key = newKey()
    const attempts = await takeMany(store, key, 200, { ...RULES, free: Number.MAX_SAFE_INTEGER })
    await store.succeed(key, attempts[199]!.id)
    t.match(await store.take(key, { ...RULES, free: Number.MAX_SAFE_INTEGER }), { isAllowed: true, failures: 127 })
  })

  t.test('a success clears no failures of another user who shares the key', async (t) => {
    const key = newKey()
    for (let i = 0; i < 3; i++) await store.take(key, RULES, 'alice')
    const { id } = await store.take(key, RULES, 'mallory')
    await store.succeed(key, id, 'mallory')
    const last = await store.take(key, RULES, 'mallory')
    t.equal(last.failures, 3)
    await store.fail(key, last.id)
    await store.succeed(key, null, 'alice')
    const fifth = await store.take(key, RULES, 'alice')
    t.match(fifth, { isAllowed: true, failures: 4 }, 'nor the user\'s own failures while there are others\' too')
    t.equal((await store.take(key, RULES, 'alice')).isAllowed, false)
    await store.succeed(key, fifth.id, 'alice')
    t.match(await store.take(key, RULES, 'alice'), { isAllowed: true, failures: 4 }, 'but it clears the wait that it started')
    const own = newKey()
    for (let i = 0; i < 5; i++) await store.fail(own, (await store.take(own, RULES, 'alice')).id)
    await store.succeed(own, null, 'alice')
    t.match(await store.take(own, RULES, 'alice'), { isAllowed: true, failures: 0 })
  })

  t.test('clears failures forgetMs after the last counted attempt', async (t) => {
    const key = newKey()
    await takeMany(store, key, 3)
    await passTime(key, 1400 * MINUTE)
    t.match(await store.take(key, RULES), { failures: 3 })
    await passTime(key, 1400 * MINUTE)
    t.match(await store.take(key, RULES), { failures: 4 })
    await passTime(key, 1440 * MINUTE)
    t.match(await store.take(key, RULES), { isAllowed: true, failures: 0 })
  })

  t.test('keeps a wait that is longer than forgetMs', async (t) => {
    const key = newKey()
    await takeMany(store, key, 1, { ...RULES, free: 1, delayMs: 60 * MINUTE, forgetMs: 10 })
    await passTime(key, 59 * MINUTE)
    t.match(await store.take(key, RULES), { isAllowed: false, failures: 1 })
  })

  t.test('applies the current maxDelayMs to a wait that began under other rules', async (t) => {
    const key = newKey()
    await takeMany(store, key, 1, { ...RULES, free: 1, delayMs: 60 * MINUTE })
    const shorter = { ...RULES, maxDelayMs: 2 * MINUTE }
    isAbout(t, (await store.take(key, shorter)).waitMs, 2 * MINUTE)
    await passTime(key, 2 * MINUTE)
    t.equal((await store.take(key, shorter)).isAllowed, true)
  })

  t.test('grants a claim to only one of many concurrent callers', async (t) => {
    const key = newKey()
    const claims = await Promise.all(Array.from({ length: 20 }, () => store.useOnce(key, 60_000)))
    t.equal(claims.filter(Boolean).length, 1)
    t.equal(await store.useOnce(newKey(), 60_000), true)
    t.equal((await store.take(key, RULES)).failures, 0, 'claims are no attempts')
  })
}

t.test('counters in the process', (t) => {
  let at = 1000
  const now = () => at
  contract(t, createMemoryCounters({ now }), (_key, ms) => { at += ms })

  t.test('release a claim when it expires', async (t) => {
    const store = createMemoryCounters({ now })
    t.same([await store.useOnce('a', 1000), await store.useOnce('a', 1000)], [true, false])
    at += 1000
    t.equal(await store.useOnce('a', 1000), true)
  })

  t.test('keep the latest max claims', async (t) => {
    const store = createMemoryCounters({ now, max: 2 })
    for (const key of ['a', 'b', 'c']) await store.useOnce(key, 1000)
    t.same([await store.useOnce('b', 1000), await store.useOnce('c', 1000), await store.useOnce('a', 1000)], [false, false, true])
  })

  t.test('are not evicted by 20 000 other names', async (t) => {
    const store = createMemoryCounters({ now })
    await takeMany(store, 'victim', 5)
    for (let i = 0; i < 20_000; i++) await store.take(`name-${i}`, RULES)
    t.equal((await store.take('victim', RULES)).isAllowed, false)
    t.equal((await store.take('one more', RULES)).failures, 0)
  })

  t.test('are not evicted by more than max names, which share counters instead', async (t) => {
    const store = createMemoryCounters({ now, max: 100 })
    await takeMany(store, 'victim', 5)
    const once = { ...RULES, free: 1 }
    const attempts = []
    for (let i = 0; i < 99 + 5000; i++) attempts.push(await store.take(`name-${i}`, once))
    t.equal((await store.take('victim', RULES)).isAllowed, false)
    t.ok(attempts.slice(0, 99).every(({ isAllowed }) => isAllowed), 'while there is room, each has its own counter')
    const passed = attempts.slice(99).filter(({ isAllowed }) => isAllowed).length
    t.ok(passed > 950 && passed <= 1024, `${passed} of 5000 over it passed`)
    at += RULES.forgetMs
    t.match(await store.take('name-4000', once), { isAllowed: true, failures: 0 }, 'there is room again when other counters expire')
    t.match(await store.take('victim', RULES), { isAllowed: true, failures: 0 })
  })

  t.test('that are shared clear one attempt on a success, and all of them when they expire', async (t) => {
    const store = createMemoryCounters({ now, max: 1 })
    await store.take('other', { ...RULES, forgetMs: 10 * RULES.forgetMs })
    const attempts = await takeMany(store, 'victim', 5)
    await store.succeed('victim', null)
    t.match(await store.take('victim', RULES), { isAllowed: false, failures: 5 })
    await store.succeed('victim', attempts[4]!.id)
    t.match(await store.take('victim', RULES), { isAllowed: true, failures: 4 })
    at += RULES.forgetMs
    await store.succeed('victim', null)
    t.match(await store.take('victim', RULES), { isAllowed: true, failures: 0 })
  })
  t.end()
})

t.test('counters in Redis', (t) => {
  const namespace = uniqueNamespace()
  const client = new Redis(redisUrl())
  t.teardown(() => client.disconnect())
  const store = createRedisCounters({ client, namespace })

  async function passTime (key: string, ms: number): Promise<void> {
    const name = `${namespace}a:${key}`
    const [value, leftMs] = [await client.get(name), await client.pttl(name)]
    if (value === null || leftMs <= ms) await client.del(name)
    else await client.set(name, value.replace(/(?<=^\d+ |:)\d+/g, (untilMs) => String(Math.max(0, Number(untilMs) - ms))), 'PX', leftMs - ms)
  }

  contract(t, store, passTime)

  t.test('each have a key whose expiry is later than the end of the wait', async (t) => {
    const key = newKey()
    const left = () => client.pttl(`${namespace}a:${key}`)
    const [first] = await takeMany(store, key, 2, { free: 2, delayMs: 5 * MINUTE, maxDelayMs: 5 * MINUTE, forgetMs: 100 })
    isAbout(t, await left(), 5 * MINUTE + 1000)
    await store.giveBack(key, first!.id)
    isAbout(t, await left(), 5 * MINUTE + 1000)
    await store.take(key, { free: 2, delayMs: 5 * MINUTE, maxDelayMs: MINUTE, forgetMs: 100 })
    isAbout(t, await left(), 5 * MINUTE + 1000, 'a wait that is shortened')
    const names = await client.keys(`${namespace}*`)
    t.ok(names.length > 5)
    for (const name of names) t.ok(await client.pttl(name) > 0, name)
  })

  t.test('leave no key when every attempt is given back or cleared', async (t) => {
    const key = newKey()
    const [attempt] = await takeMany(store, key, 1)
    t.equal(await client.exists(`${namespace}a:${key}`), 1)
    await store.giveBack(key, attempt!.id)
    t.equal(await client.exists(`${namespace}a:${key}`), 0)
    await store.fail(key, (await store.take(key, RULES)).id)
    t.equal(await client.exists(`${namespace}a:${key}`), 1)
    await store.succeed(key, null)
    t.equal(await client.exists(`${namespace}a:${key}`), 0)
  })

  t.test('release a claim when it expires', async (t) => {
    const key = newKey()
    await store.useOnce(key, 0.5)
    await until(() => store.useOnce(key, 60_000), 'the claim expires')
    isAbout(t, await client.pttl(`${namespace}c:${key}`), 60_000)
  })

  t.test('are shared by all servers', async (t) => {
    const key = newKey()
    const other = new Redis(redisUrl())
    t.teardown(() => other.disconnect())
    const stores = [store, createRedisCounters({ client: other, namespace })]
    const attempts = await Promise.all(Array.from({ length: 50 }, (_, i) => stores[i % 2]!.take(key, RULES)))
    t.equal(attempts.filter(({ isAllowed }) => isAllowed).length, 5)
  })

  t.test('treat garbage as no attempts and overwrite it', async (t) => {
    for (const put of [(name: string) => client.rpush(name, 'x'), (name: string) => client.set(name, 'x'), (name: string) => client.set(name, '-1 5 x y')]) {
      const key = newKey()
      const name = `${namespace}a:${key}`
      await put(name)
      await store.giveBack(key, 'x')
      t.same((await takeMany(store, key, 6)).map(({ isAllowed }) => isAllowed), [true, true, true, true, true, false])
      t.ok(await client.pttl(name) > 0)
    }
  })

  t.test('need no more permissions than docs/storage.md lists', async (t) => {
    const [command] = /^ACL SETUSER .*$/m.exec(readFileSync('docs/storage.md', 'utf8'))!
    const [, , , ...rules] = command.replace('~fta:*', `~${namespace}*`).split(' ')
    const username = namespace.slice(0, -1)
    await client.call('ACL', 'SETUSER', username, ...rules)
    t.teardown(() => client.call('ACL', 'DELUSER', username))
    const limited = openRedis({ url: redisUrl(), username, password: 'secret' }, SILENT)
    t.teardown(() => limited.disconnect())
    await limited.connect()
    const attempts = createRedisCounters({ client: limited as Redis, namespace })
    const taken = await takeMany(attempts, 'acl', 6)
    t.equal(taken[5]!.isAllowed, false)
    await attempts.giveBack('acl', taken[0]!.id)
    await attempts.fail('acl', taken[1]!.id)
    await attempts.succeed('acl', taken[2]!.id)
    t.equal(await attempts.useOnce('acl', 1000), true)
  })
  t.end()
})

t.test('counters in Redis, with counters in the process as fallback', async (t) => {
  const namespace = uniqueNamespace()
  const server = await createRedisServer(t)
  const local = { ...RULES, free: 2 }

  async function open (t: Test, localRules: AttemptRules | null = local, commandTimeout = 30_000) {
    await server.kill()
    await server.start()
    const redis = openRedis({ url: server.url, retryStrategy: () => 10, commandTimeout }, SILENT)
    t.teardown(() => redis.disconnect())
    await redis.connect()
    let at = 0
    const warnings: object[] = []
    const logger = { ...SILENT, warn: (...line: unknown[]) => { warnings.push(line) } }
    const store = createCounters({ redis: redis as Redis, namespace, localRules, logger, monotonicNow: () => at })
    return { store, redis, warnings, passTime: (ms: number) => { at += ms } }
  }

  const back = (redis: RedisClient) => until(() => redis.status === 'ready', 'Redis is back')

  await t.test('apply the stricter limit while Redis is unavailable, and warn once per outage', async (t) => {
    const { store, redis, warnings, passTime } = await open(t)
    t.same((await takeMany(store, 'alice', 6)).map(({ isAllowed }) => isAllowed), [true, true, true, true, true, false])
    await server.kill()
    t.same((await takeMany(store, 'alice', 10)).map(({ isAllowed }) => isAllowed), [true, true, ...Array(8).fill(false)])
    t.equal(warnings.length, 1)
    t.notMatch(JSON.stringify(warnings), 'alice')
    await server.start()
    await back(redis)
    passTime(5000)
    t.same((await takeMany(store, 'bob', 6)).map(({ isAllowed }) => isAllowed), [true, true, true, true, true, false], 'Redis counts again')
    await server.kill()
    await takeMany(store, 'bob', 2)
    t.equal(warnings.length, 2, 'the next outage is logged again')
  })

  await t.test('settle attempts in Redis later if it did not answer', async (t) => {
    const { store, redis, passTime } = await open(t, local, 100)
    const take = async () => await store.take('alice', RULES, 'alice')
    const [failed, undone, right] = [await take(), await take(), await take()]
    server.freeze()
    await store.fail('alice', failed.id)
    await store.giveBack('alice', undone.id)
    await store.succeed('alice', right.id, 'alice')
    t.match((await take()).id, /^local:/, 'one more without an answer')
    server.thaw()
    passTime(5000)
    const command = redis.eval
    let losses = 2
    redis.eval = (...args: any[]) => String(args[2]).endsWith('a:alice') && losses-- > 0 ? Promise.reject(new Error('lost again')) : Reflect.apply(command, redis, args)
    await until(async () => {
      await store.fail('nobody', 'nothing')
      return await redis.exists(`${namespace}a:alice`) === 0
    }, 'no attempt is left in progress')
  })

  await t.test('apply the limit if Redis hangs, and wait for only a few of its timeouts', async (t) => {
    const { store, redis } = await open(t, local, 100)
    let sent = 0
    const command = redis.eval
    redis.eval = (...args: any[]) => {
      sent++
      return Reflect.apply(command, redis, args)
    }
    server.freeze()
    t.same((await takeMany(store, 'alice', 20)).map(({ isAllowed }) => isAllowed), [true, true, ...Array(18).fill(false)])
    t.equal(sent, 5)
    server.thaw()
  })

  await t.test('give an attempt back only where it was counted', async (t) => {
    const { store, redis, passTime } = await open(t)
    const inRedis = await takeMany(store, 'alice', 2)
    await server.kill()
    const inProcess = await takeMany(store, 'alice', 2)
    await store.giveBack('alice', inRedis[0]!.id)
    t.match(await store.take('alice', local), { isAllowed: false, failures: 2 })
    await server.start()
    await back(redis)
    passTime(100)
    await takeMany(store, 'alice', 2)
    await store.giveBack('alice', inProcess[1]!.id)
    t.match(await store.take('alice', RULES), { failures: 2 }, 'Redis keeps its own attempts')
    await server.kill()
    t.match(await store.take('alice', local), { isAllowed: true, failures: 1 }, 'the process has removed its own attempt')
  })

  await t.test('are cleared in both by a success, even while Redis is unavailable', async (t) => {
    const { store } = await open(t)
    await server.kill()
    const [first, second] = await takeMany(store, 'alice', 2)
    await store.fail('alice', first!.id)
    await store.succeed('alice', second!.id)
    t.match(await store.take('alice', RULES), { isAllowed: true, failures: 0 })
  })

  await t.test('accept a claim once, even if Redis goes away or comes back in between', async (t) => {
    const { store, redis, passTime } = await open(t)
    t.equal(await store.useOnce('before', 60_000), true)
    await server.kill()
    t.same([await store.useOnce('before', 60_000), await store.useOnce('during', 60_000), await store.useOnce('during', 60_000)], [false, true, false])
    await server.start()
    await back(redis)
    passTime(100)
    t.same([await store.useOnce('during', 60_000), await store.useOnce('after', 60_000)], [false, true])
    const [other] = [createRedisCounters({ client: redis as Redis, namespace })]
    t.equal(await other!.useOnce('after', 60_000), false, 'other servers see it')
    passTime(60_000)
    t.equal(await store.useOnce('after', 60_000), false, 'Redis decides')
  })

  await t.test('apply the caller\'s rules if there are no local ones, and if there is no Redis', async (t) => {
    const { store } = await open(t, null)
    await server.kill()
    const alone = createCounters({ redis: null, namespace, localRules: local, logger: SILENT, monotonicNow: () => 0 })
    for (const each of [store, alone]) {
      t.same((await takeMany(each, 'alice', 6)).map(({ isAllowed }) => isAllowed), [true, true, true, true, true, false])
    }
  })
})

t.test('a pseudonym', async (t) => {
  const { pool, statements, tables, sql } = await openMigrated(t)
  const open = (timeoutMs = 60_000) => createPseudonyms(createServerKey(createSql(sql.db, { timeoutMs }), tables))

  await t.test('is the same for one text on every server, and different for each purpose and text', async (t) => {
    const [one, other] = [open(), open()]
    const pseudonym = await one('account', 'alice')
    t.match(pseudonym, /^[\w-]{43}$/)
    t.equal(await other('account', 'alice'), pseudonym)
    const all = await Promise.all([one('account', 'alice'), one('address', 'alice'), one('captcha', 'alice'), one('name', 'alice'), one('spelling', 'alice'), one('account', 'Alice')])
    t.equal(new Set(all).size, 6)
  })

  await t.test('depends on the key in the database, which differs between databases', async (t) => {
    const another = await openMigrated(t)
    t.not(await createPseudonyms(createServerKey(another.sql, another.tables))('account', 'alice'), await open()('account', 'alice'))
  })

  await t.test('needs the key once for any number of pseudonyms', async (t) => {
    const pseudonym = open()
    statements.length = 0
    await Promise.all(Array.from({ length: 20 }, (_, i) => pseudonym('account', `user ${i}`)))
    await pseudonym('name', 'later')
    t.equal(statements.length, 2, 'the row and the identity of the database')
  })

  await t.test('is rejected while the key cannot be read, and created as soon as it can', async (t) => {
    const [pseudonym, hasty] = [open(), open(50)]
    const expected = await open()('account', 'alice')
    await pool.query('alter table auth_tokens_server_key rename to away')
    await t.rejects(pseudonym('account', 'alice'), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    await pool.query('alter table away rename to auth_tokens_server_key')
    const client = await pool.connect()
    await client.query('begin; lock table auth_tokens_server_key')
    await t.rejects(hasty('account', 'alice'), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
    await client.query('rollback')
    client.release()
    t.equal(await pseudonym('account', 'alice'), expected)
    t.equal(await hasty('account', 'alice'), expected)
  })

  await t.test('is never created without a key', async (t) => {
    const pseudonym = open()
    await pool.query('delete from auth_tokens_server_key')
    await t.rejects(pseudonym('account', 'alice'), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /^The server key table has no row: revert the migration 0003_token_auth_server_key/ })
    await pool.query('insert into auth_tokens_server_key (value) values (sha256(\'a\'))')
    const { rows: [{ system, oid }] } = await pool.query('select system_identifier::text as system, oid::text from pg_control_system(), pg_database where datname = current_database()')
    const key = createHash('sha256').update(createHash('sha256').update('a').digest()).update(`${system} ${oid}`).digest()
    t.equal(await pseudonym('account', 'alice'), createHmac('sha256', key).update('account\0alice').digest('base64url'))
    await pool.query('drop table auth_tokens_server_key')
    await t.rejects(checkTables(sql.db, tables), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /^The server key table is not as expected: .*npx fastify-token-auth migrate --up/ })
  })
})

t.test('a known address', async (t) => {
  const { pool, statements, tables, sql } = await openMigrated(t)
  const reader = createTokenStore(sql, tables, { idleTtlMs: null, cacheTtlMs: 60_000 })
  const users = createUserStore(sql, tables, SILENT)
  let sessions = 0

  async function createUser (username: string, ip: string | null, set = ''): Promise<void> {
    const { id } = await users.create({ username, passwordHash: 'hash', fields: {} })
    await pool.query('insert into auth_tokens (digest, user_id, expires_at, ip) values (sha256($1), $2, now() + interval \'1 day\', $3)', [Buffer.from(`${sessions++}`), id, ip])
    if (set !== '') await pool.query(`update auth_tokens set ${set} where user_id = $1`, [id])
  }

  await t.test('is one from which this user began a session', async (t) => {
    await createUser('alice', '192.0.2.1')
    await createUser('bob', '2001:db8:1:2::5')
    await createUser('carol', null)
    t.equal(await reader.isKnownAddress('alice', '192.0.2.1'), true)
    t.equal(await reader.isKnownAddress('alice', '192.0.2.2'), false)
    t.equal(await reader.isKnownAddress('bob', '192.0.2.1'), false, 'another user\'s address')
    t.equal(await reader.isKnownAddress('nobody', '192.0.2.1'), false)
    t.equal(await reader.isKnownAddress('carol', '192.0.2.1'), false)
  })

  await t.test('covers its /64 if it is IPv6', async (t) => {
    t.equal(await reader.isKnownAddress('bob', '2001:db8:1:2:ffff::9'), true)
    t.equal(await reader.isKnownAddress('bob', '2001:db8:1:3::5'), false)
    t.equal(await reader.isKnownAddress('alice', '::c000:201'), false, 'IPv4 is not IPv6')
  })

  await t.test('is looked up in one statement for any username, and in none if the address is invalid', async (t) => {
    for (const username of ['alice', 'nobody']) {
      statements.length = 0
      await reader.isKnownAddress(username, '192.0.2.1')
      t.equal(statements.length, 1)
    }
    statements.length = 0
    for (const ip of ['', 'a', '192.0.2.1:80', '[::1]', 'fe80::1%eth0', '192.0.2.0/24', 'x'.repeat(10_000)]) t.equal(await reader.isKnownAddress('alice', ip), false)
    t.equal(statements.length, 0)
  })

  await t.test('costs the same to look up, however many sessions there are', async (t) => {
    const asked: CompiledQuery[] = []
    const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }), log: ({ query }) => { asked.push(query) } })
    const { id } = await users.create({ username: 'many', passwordHash: 'hash', fields: {} })
    await pool.query(`insert into auth_tokens (digest, user_id, expires_at, ip) select sha256(uuid_send(gen_random_uuid())), $1, now() + interval '1 day', inet '10.0.0.0' + n
      from generate_series(1, 3000) n`, [id])
    await pool.query('vacuum analyze auth_tokens')
    async function pagesFor (username: string, ip: string): Promise<number> {
      await createTokenStore(createSql(db), tables, { idleTtlMs: null, cacheTtlMs: 60_000 }).isKnownAddress(username, ip)
      const { sql: text, parameters } = asked.pop()!
      const { rows } = await pool.query(`explain (analyze, buffers, format json) ${text}`, [...parameters])
      const { 'Shared Hit Blocks': hit, 'Shared Read Blocks': read } = rows[0]['QUERY PLAN'][0].Plan
      return hit + read
    }
    for (const ip of ['192.0.2.1', '2001:db8:1:2::5']) {
      const [none, many] = [await pagesFor('nobody', ip), await pagesFor('many', ip)]
      t.ok(many - none <= 4, `${many} pages, ${none} for nobody`)
    }
    t.equal(await reader.isKnownAddress('many', '10.0.5.5'), true)
  })

  await t.test('stays known after the session, unless it ended by a revocation for security', async (t) => {
    const ends: Record<string, boolean> = {
      logout: true, logout_all: true, too_many: true, session_deleted: false, password_changed: false, deactivated: false, revoked: false
    }
    for (const [reason, isKnown] of Object.entries(ends)) {
      await createUser(reason, '192.0.2.1', `revoked_at = now(), revoke_reason = '${reason}'`)
      t.equal(await reader.isKnownAddress(reason, '192.0.2.1'), isKnown, reason)
    }
    await createUser('expired', '192.0.2.1', 'expires_at = now()')
    t.equal(await reader.isKnownAddress('expired', '192.0.2.1'), true)
  })

  await t.test('is no longer known after 30 days', async (t) => {
    await createUser('late', '192.0.2.1', 'created_at = now() - interval \'29 days 23 hours\'')
    await createUser('too late', '192.0.2.1', 'created_at = now() - interval \'30 days 1 minute\'')
    t.same([await reader.isKnownAddress('late', '192.0.2.1'), await reader.isKnownAddress('too late', '192.0.2.1')], [true, false])
  })
})

t.test('a hash is replaced only if it is still the one that was verified', async (t) => {
  const { pool, tables, sql } = await openMigrated(t)
  const users = createUserStore(sql, tables, SILENT)
  const { id } = await users.create({ username: 'alice', passwordHash: 'old', fields: {} })
  await users.create({ username: 'bob', passwordHash: 'old', fields: {} })
  await pool.query('insert into auth_tokens (digest, user_id, expires_at) values (sha256(\'a\'), $1, now() + interval \'1 day\')', [id])
  t.equal(await users.rehash(id, 'other', 'new'), false)
  t.equal(await users.rehash(id, 'old', 'new'), true)
  t.equal(await users.rehash(id, 'old', 'newer'), false)
  t.match(await users.findCredentialsById(id), { passwordHash: 'new' })
  t.match(await users.findCredentials('bob'), { passwordHash: 'old' }, 'another user\'s hash stays')
  t.equal((await pool.query('select 1 from auth_tokens where revoked_at is null')).rows.length, 1, 'no session is revoked')
})
