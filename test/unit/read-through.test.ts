import t from 'tap'
import type { StalePage } from '../../lib/ports.js'
import { redactCommand } from '../../lib/redis/errors.js'
import { createCacheAvailability, probe } from '../../lib/cache/availability.js'
import { NO_HEARTBEAT } from '../helpers/no-heartbeat.js'
import { createReadThrough } from '../../lib/cache/read-through.js'
import { UNSEALED } from '../../lib/crypto/seal.js'
import { createMemoryCache } from '../helpers/memory-cache.js'
import { createCatchUp } from '../../lib/cache/catch-up.js'
import { createDatabaseClock } from '../../lib/tools/database-clock.js'
import { createDoubts } from '../../lib/cache/doubts.js'
import { staleWindowMs } from '../../lib/tools/stale-window.js'
import { until } from '../helpers/until.js'

t.test('a cache\'s error loses its command', async (t) => {
  const reply = (message: string, command: object = { name: 'set', args: ['secret'] }) => Object.assign(new Error(message), { name: 'ReplyError', command })
  t.match(redactCommand(reply('OOM command not allowed')), { message: 'Redis answered OOM to SET', name: 'CacheError' })
  t.match(redactCommand(reply('whatever', {})), { message: 'Redis answered an error' })
  t.match(redactCommand(new Error('Command timed out')), { message: 'Command timed out' })
  t.notOk('command' in redactCommand(reply('OOM')))
})

t.test('a probe closes the circuit when the cache answers, and reports an error when it does not', async (t) => {
  const errors: string[] = []
  let nowMs = 0
  const availability = createCacheAvailability({ monotonicNow: () => nowMs, onError: (operation, { message }) => { errors.push(`${operation}: ${message}`) } })
  availability.trust()
  const memory = createMemoryCache({ max: 10, now: Date.now })
  const broken = { ...memory, get: (_digest: string, done: (error: Error, value: null) => void) => done(new Error('no answer'), null) }
  await probe(broken, availability)
  t.same(errors, [], 'a healthy cache is not read')
  while (availability.isHealthy()) availability.failed('get', new Error('down'))
  errors.length = 0
  await probe(broken, availability)
  t.same(errors, [], 'the pause of the circuit is not over')
  nowMs = 1000
  await probe(broken, availability)
  t.same(errors, ['get: no answer'])
  nowMs = 10_000
  await probe(memory, availability)
  t.ok(availability.isHealthy())
})

t.test('the cache is trusted after a catch-up round that began after the last doubt', async (t) => {
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  const rounds: (() => void)[] = []
  async function * listStale (): AsyncGenerator<StalePage, void> {
    yield await new Promise((resolve) => { rounds.push(() => resolve({ revoked: ['d'], refreshed: [] })) })
  }
  const catchUp = createCatchUp({ cache: createMemoryCache({ max: 10, now: Date.now }), availability, listStale, assertPrimary: async () => {}, heartbeat: NO_HEARTBEAT, windowMs: 1000 })
  catchUp.start()
  catchUp.begin()
  await until(() => rounds.length === 1, 'a first round')
  rounds[0]!()
  await until(() => rounds.length === 2, 'a second round')
  t.equal(availability.isTrusted(), false)
  rounds[1]!()
  await catchUp.ready
  t.equal(availability.isTrusted(), true)
  await catchUp.close()
})

t.test('a revocation that overtakes a read', async (t) => {
  const memory = createMemoryCache({ max: 10, now: Date.now })
  const availability = createCacheAvailability({ monotonicNow: () => 0, onError: () => {} })
  availability.trust()
  const record = { sessionId: 's', user: { id: 1, username: 'a' }, issuedAtMs: 0, expiresAtMs: Date.now() + 60_000, idleAtMs: null, scopes: null }
  const store = (cache: typeof memory, find: () => Promise<{ record: typeof record, asOfMs: number } | null>) =>
    createReadThrough({ cache, availability, doubts: createDoubts(), seal: UNSEALED, find, ttlMs: 60_000, clock: createDatabaseClock({ now: Date.now, monotonicNow: () => performance.now() }), leaseOwner: 'x', jitter: () => 0 })
  const resolve = (over: ReturnType<typeof store>, digest: string) => new Promise((resolve, reject) => over.lookup(digest, (error, found) => error === null ? resolve(found) : reject(error)))

  await t.test('between the read and the lease takes effect', async (t) => {
    const overtaken = { ...memory, get: (digest: string, done: (error: null, value: null) => void) => { memory.tombstone([digest], 1000).then(() => done(null, null)) } }
    t.equal(await resolve(store(overtaken as never, async () => { throw new Error('SQL is not asked') }), 'a'), null)
  })

  await t.test('between the statement and the fill prevents the fill', async (t) => {
    const late = store(memory, async () => { await memory.tombstone(['b'], 60_000); return { record, asOfMs: record.expiresAtMs - 60_000 } })
    t.match(await resolve(late, 'b'), { record }, 'it began before the revocation had returned')
    t.equal(await resolve(late, 'b'), null)
  })

  await t.test('a token in its last millisecond is not cached', async (t) => {
    let asked = 0
    const short = store(memory, async () => { asked++; return { record, asOfMs: record.expiresAtMs - 0.4 } })
    for (let i = 0; i < 2; i++) t.match(await resolve(short, 'c'), { record })
    t.equal(asked, 2)
  })
})

t.test('tombstones last as long as any entry that was read before the commit', async (t) => {
  const transactionMs = 30_000
  const leaseMs = 2000
  // A revocation's date may precede its commit by the transaction time; a read until then may fill during its lease; the entry lives for the TTL.
  for (const ttlMs of [1000, 300_000]) t.equal(staleWindowMs(ttlMs), transactionMs + leaseMs + ttlMs)
})
