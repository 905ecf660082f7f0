import { randomBytes } from 'node:crypto'
import t from 'tap'
import { createBreaker } from '../../lib/tools/breaker.js'
import { withDeadline } from '../../lib/tools/deadline.js'
import { createNextBatch } from '../../lib/tools/next-batch.js'
import { createPace } from '../../lib/tools/pace.js'
import { createSemaphore } from '../../lib/tools/semaphore.js'
import { scanningPattern } from '../../lib/index.js'
import { createLastUsed } from '../../lib/services/last-used.js'
import { staleWindowMs } from '../../lib/tools/stale-window.js'
import { createTokenFormat, digestOf } from '../../lib/crypto/token.js'

function deferred<Value> () {
  let resolve!: (value: Value) => void
  let reject!: (error: Error) => void
  const promise = new Promise<Value>((_resolve, _reject) => { resolve = _resolve; reject = _reject })
  return { promise, resolve, reject }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('a token', async (t) => {
  const { create, isWellFormed } = createTokenFormat({ prefix: 'fta', randomBytes })

  await t.test('is made of the random bytes it is given', async (t) => {
    const fixed = createTokenFormat({ prefix: 'acme', randomBytes: (size) => Buffer.alloc(size, 7) })
    const token = fixed.create()
    t.equal(token, fixed.create())
    t.match(token, /^acme_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc[0-9A-Za-z]{6}$/)
    t.notOk(isWellFormed(token), 'of another prefix')
  })

  await t.test('never comes twice, and all match the pattern for secret scanners', async (t) => {
    const tokens = Array.from({ length: 2000 }, create)
    t.equal(new Set(tokens).size, 2000)
    const pattern = new RegExp(scanningPattern('fta'))
    t.ok(tokens.every((token) => isWellFormed(token) && pattern.test(`key = "${token}";`)))
    t.equal(new Set(tokens.map((token) => token[4])).size > 30, true)
  })

  await t.test('with any one character changed is refused before any look-up', async (t) => {
    const token = create()
    for (let i = 0; i < token.length; i++) {
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1)
      t.notOk(isWellFormed(changed), `at ${i}`)
    }
    for (const text of ['', token + 'A', token.slice(1), ` ${token}`, token.replace('_', '-'), `${token}\n`]) t.notOk(isWellFormed(text))
  })

  await t.test('is known by its SHA-256', async (t) => {
    t.equal(digestOf('abc'), Buffer.from('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', 'hex').toString('base64url'))
  })
})

t.test('a semaphore', async (t) => {
  const full = () => new Error('overloaded')

  await t.test('bounds how many run and how many wait, in order', async (t) => {
    const semaphore = createSemaphore({ concurrency: 2, queue: 2, maxWaitMs: 60_000, overloaded: full })
    const tasks = Array.from({ length: 5 }, () => deferred<number>())
    const started: number[] = []
    const runs = tasks.map((task, i) => semaphore.run(() => { started.push(i); return task.promise }))
    await t.rejects(runs[4]!, { message: 'overloaded' })
    t.same([started, semaphore.active, semaphore.waiting], [[0, 1], 2, 2])
    tasks[1]!.reject(new Error('of the task'))
    await t.rejects(runs[1]!, { message: 'of the task' })
    await turn()
    t.same([started, semaphore.active, semaphore.waiting], [[0, 1, 2], 2, 1])
    for (const i of [0, 2, 3]) tasks[i]!.resolve(i)
    t.same(await Promise.all([runs[0], runs[2], runs[3]]), [0, 2, 3])
    t.same([semaphore.active, semaphore.waiting], [0, 0])
  })

  await t.test('gives up waiting in time, and the place is not lost', async (t) => {
    const semaphore = createSemaphore({ concurrency: 1, queue: 1, maxWaitMs: 10, overloaded: full })
    const task = deferred<string>()
    const running = semaphore.run(() => task.promise)
    await t.rejects(semaphore.run(async () => 'never'), { message: 'overloaded' })
    task.resolve('done')
    t.equal(await running, 'done')
    t.equal(await semaphore.run(async () => 'next'), 'next')
  })

  const slow = {
    concurrency: 2,
    queue: 10,
    maxWaitMs: 60_000,
    expectWaitMs: (waiting: number) => 20_000 * (waiting + 1),
    overloaded: (waitMs: number) => new Error(`overloaded for ${waitMs}`)
  }

  await t.test('refuses at once who would wait too long', async (t) => {
    const semaphore = createSemaphore(slow)
    const task = deferred<string>()
    const runs = Array.from({ length: 5 }, () => semaphore.run(() => task.promise))
    t.same([semaphore.active, semaphore.waiting], [2, 3])
    await t.rejects(semaphore.run(async () => 'never'), { message: 'overloaded for 80000' })
    task.resolve('done')
    t.same(await Promise.all(runs), Array(5).fill('done'))
    t.equal(await semaphore.run(async () => 'next'), 'next', 'where a place is free nobody waits')
  })

  await t.test('refuses before it has begun what will find no place', async (t) => {
    const semaphore = createSemaphore(slow)
    const [before, task] = [deferred<undefined>(), deferred<string>()]
    let begun = 0
    const work = async () => {
      begun++
      await before.promise
      return await semaphore.run(() => task.promise)
    }
    const announced = () => {
      const release = semaphore.reserve()
      return work().finally(release)
    }
    const works = Array.from({ length: 5 }, announced)
    const overloaded = { message: 'overloaded for 80000' }
    t.throws(announced, overloaded)
    t.same([begun, semaphore.active, semaphore.waiting], [5, 0, 0])
    before.resolve(undefined)
    await turn()
    t.same([semaphore.active, semaphore.waiting], [2, 3])
    t.throws(announced, overloaded, 'each counts once')
    task.resolve('done')
    t.same(await Promise.all(works), Array(5).fill('done'))
    t.equal(await announced(), 'done')
    const running = Array.from({ length: 5 }, () => semaphore.run(() => before.promise))
    t.throws(announced, overloaded, 'behind tasks that were not announced')
    await Promise.all(running)
  })
})

t.test('a pace is the mean of how long tasks took, of which the latest counts most', async (t) => {
  let at = 0
  const pace = createPace({ now: () => at })
  t.equal(pace.meanMs, 0)
  const take = (ms: number) => pace.run(async () => { at += ms })
  await take(100)
  t.equal(pace.meanMs, 100)
  await t.rejects(pace.run(async () => { at += 500; throw new Error('of the task') }), { message: 'of the task' })
  t.equal(pace.meanMs, 200, 'a task that fails counts, too')
  for (let i = 0; i < 20; i++) await take(40)
  t.equal(Math.round(pace.meanMs), 41)
  t.equal(await pace.run(async () => 'done'), 'done')
})

t.test('a deadline', async (t) => {
  const expired = () => new Error('expired')
  t.equal(await withDeadline(Promise.resolve(1), { timeoutMs: 60_000, expired }), 1)
  await t.rejects(withDeadline(Promise.reject(new Error('its own')), { timeoutMs: 60_000, expired }), { message: 'its own' })
  const slow = deferred<number>()
  const settled = deferred<string>()
  await t.rejects(withDeadline(slow.promise, { timeoutMs: 5, expired, late: () => settled.resolve('late') }), { message: 'expired' })
  slow.resolve(1)
  t.equal(await settled.promise, 'late', 'tells when the work has settled after all')
  const failing = deferred<number>()
  await t.rejects(withDeadline(failing.promise, { timeoutMs: 5, expired }), { message: 'expired' })
  failing.reject(new Error('too late to matter'))
})

t.test('a deadline does not count the time that this process was busy itself', async (t) => {
  const expired = () => new Error('expired')
  const block = (ms: number) => { for (const end = performance.now() + ms; performance.now() < end;); }
  const answer = new Promise<string>((resolve) => setTimeout(resolve, 30, 'in time'))
  const waiting = withDeadline(answer, { timeoutMs: 20, expired })
  block(60)
  t.equal(await waiting, 'in time', 'what was there by the end of the stall')
  const never = withDeadline(new Promise(() => {}), { timeoutMs: 20, expired }).catch(({ message }) => message)
  for (let stalls = 0; stalls < 6; stalls++) {
    block(60)
    await new Promise((resolve) => setTimeout(resolve))
  }
  t.equal(await never, 'expired', 'it ends, however often that happens')
})

t.test('a breaker opens after five failures in a row, and lets one probe through at a time', async (t) => {
  let at = 0
  const breaker = createBreaker({ now: () => at })
  for (let i = 0; i < 4; i++) breaker.failed()
  breaker.succeeded()
  for (let i = 0; i < 4; i++) breaker.failed()
  t.ok(breaker.allows())
  breaker.failed()
  t.ok(breaker.isOpen)
  t.notOk(breaker.allows())
  for (const pause of [500, 1000, 2000, 4000, 5000, 5000]) {
    at += pause - 1
    t.notOk(breaker.allows(), `within ${pause} ms`)
    at += 1
    t.same([breaker.allows(), breaker.allows()], [true, false])
    breaker.failed()
  }
  at += 5000
  t.ok(breaker.allows())
  breaker.succeeded()
  t.same([breaker.isOpen, breaker.allows(), breaker.allows()], [false, true, true])
})

t.test('a batch is joined only before it starts', async (t) => {
  const runs: { key: string, answer: ReturnType<typeof deferred<number>> }[] = []
  const join = createNextBatch((key) => { const answer = deferred<number>(); runs.push({ key, answer }); return answer.promise })
  const first = join('a')
  const [second, third, other] = [join('a'), join('a'), join('b')]
  t.same(runs.map(({ key }) => key), ['a', 'b'])
  runs[0]!.answer.reject(new Error('of the first'))
  await t.rejects(first, { message: 'of the first' })
  await turn()
  t.equal(runs.length, 3, 'the two that came during the run share the next')
  const fourth = join('a')
  runs[2]!.answer.resolve(2)
  t.same(await Promise.all([second, third]), [2, 2])
  await turn()
  runs[3]!.answer.resolve(3)
  runs[1]!.answer.resolve(1)
  t.same(await Promise.all([fourth, other]), [3, 1])
  await turn()
  const later = join('a')
  runs[4]!.answer.resolve(4)
  t.equal(await later, 4)
})

t.test('tombstones last as long as an entry that was read before the commit can', async (t) => {
  const transactionMs = 30_000
  const leaseMs = 2000
  // The revocation's instant may be so long before its commit; a read until then has a lease to fill in; what it fills lives for the TTL.
  for (const ttlMs of [1000, 300_000]) t.equal(staleWindowMs(ttlMs), transactionMs + leaseMs + ttlMs)
})

t.test('last uses', async (t) => {
  const record = (sessionId: string, idleAtMs: number | null = null) => ({ sessionId, idleAtMs, user: { id: 1, username: 'a' }, issuedAtMs: 0, expiresAtMs: 9e15, scopes: null })
  function bench (intervalMs = 3_600_000) {
    const at = { ms: 1000 }
    const writes: { ids: string[], ages: number[], done: ReturnType<typeof deferred<undefined>> }[] = []
    const warnings: string[] = []
    const logger = { info () {}, error () {}, warn (_fields: object, message: string) { warnings.push(message) } }
    const touch = (ids: string[], ages: number[]) => { const done = deferred<undefined>(); writes.push({ ids, ages, done }); return done.promise }
    return { at, writes, warnings, ...createLastUsed({ touch, intervalMs, now: () => at.ms, logger }) }
  }

  await t.test('are written once each, with their age', async (t) => {
    const { at, writes, note, flush } = bench()
    note(record('a'))
    at.ms += 10
    note(record('a'))
    note(record('b'))
    at.ms += 5
    const flushed = flush()
    t.match(writes, [{ ids: ['a', 'b'], ages: [5, 5] }])
    writes[0]!.done.resolve(undefined)
    await flushed
    await flush()
    t.equal(writes.length, 1)
  })

  await t.test('that come during a write are written by the next', async (t) => {
    const { writes, note, flush, close } = bench()
    note(record('a'))
    const flushed = flush()
    note(record('b'))
    const closed = close()
    writes[0]!.done.resolve(undefined)
    await flushed
    await turn()
    writes[1]!.done.resolve(undefined)
    await closed
    t.same(writes.map(({ ids }) => ids), [['a'], ['b']])
  })

  await t.test('that cannot be written are tried again, without losing newer ones', async (t) => {
    const { at, writes, warnings, note, flush, close } = bench()
    note(record('a'))
    const flushed = flush()
    at.ms += 50
    note(record('a'))
    writes[0]!.done.reject(new Error('away'))
    await flushed
    t.equal(warnings.length, 1)
    const closed = close()
    t.match(writes[1], { ids: ['a'], ages: [0] })
    writes[1]!.done.resolve(undefined)
    await closed
  })

  await t.test('that cannot be written are told once an outage, and hurry nobody meanwhile', async (t) => {
    const { at, writes, warnings, note, flush, close } = bench()
    for (let outage = 1; outage < 3; outage++) {
      note(record('a'))
      for (let i = 0; i < 3; i++) {
        const flushed = flush()
        writes.at(-1)!.done.reject(new Error('away'))
        await flushed
        const tries = writes.length
        note(record(`close${outage}${i}`, at.ms + 5000))
        t.equal(writes.length, tries)
      }
      t.equal(warnings.length, outage)
      const flushed = flush()
      t.equal(writes.at(-1)!.ids.length, 4)
      writes.at(-1)!.done.resolve(undefined)
      await flushed
    }
    await close()
  })

  await t.test('are kept as far as there is room when the write of a whole batch fails', async (t) => {
    const { writes, note, flush, close } = bench()
    for (let i = 0; i < 10_000; i++) note(record(`s${i}`))
    for (let i = 0; i < 15_000; i++) note(record(`t${i}`))
    writes[0]!.done.reject(new Error('away'))
    await turn()
    const { ids, done } = writes[1]!
    t.equal(ids.length, 20_000)
    t.ok(ids.includes('t14999') && ids.includes('s4999') && !ids.includes('s5000'), 'the newer ones first')
    done.resolve(undefined)
    await flush()
    await close()
  })

  await t.test('are bounded while they cannot be written', async (t) => {
    const { writes, note, flush, close } = bench()
    for (let i = 0; i < 10_000; i++) note(record(`s${i}`))
    t.equal(writes.length, 1, 'a full batch does not wait')
    for (let i = 0; i < 25_000; i++) note(record(`t${i}`))
    writes[0]!.done.reject(new Error('away'))
    await turn()
    const flushed = flush()
    await turn()
    t.equal(writes[1]!.ids.length, 20_000)
    writes[1]!.done.resolve(undefined)
    await flushed
    await close()
  })

  await t.test('close to the idle limit are written at once, once', async (t) => {
    const { at, writes, note, close } = bench(15_000)
    note(record('far', at.ms + 30_000))
    t.equal(writes.length, 0)
    note(record('near', at.ms + 5000))
    t.equal(writes.length, 1)
    writes[0]!.done.resolve(undefined)
    await turn()
    note(record('near', at.ms + 5000))
    t.equal(writes.length, 1)
    const closed = close()
    writes[1]!.done.resolve(undefined)
    await closed
  })
})
