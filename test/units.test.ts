import { randomBytes } from 'node:crypto'
import t from 'tap'
import { createBreaker } from '../lib/concurrency/breaker.js'
import { withDeadline } from '../lib/concurrency/deadline.js'
import { createNextBatch } from '../lib/concurrency/next-batch.js'
import { createSemaphore } from '../lib/concurrency/semaphore.js'
import { bcrypt, scanningPattern } from '../lib/index.js'
import work from '../lib/passwords/bcrypt-worker.js'
import { createLastUsed } from '../lib/services/last-used.js'
import { createTokenFormat, digestOf } from '../lib/tokens/token.js'

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

t.test('bcrypt', async (t) => {
  const hasher = bcrypt({ cost: 4 })
  t.teardown(() => hasher.close?.())
  const long = 'x'.repeat(100)

  await t.test('verifies what it hashed, and nothing else', async (t) => {
    for (const password of ['pässwörd-密码-🔑', '  spaces  ', long]) {
      const hash = await hasher.hash(password)
      t.ok(await hasher.verify(password, hash))
      t.notOk(await hasher.verify(`${password} `, hash))
      t.notOk(hasher.needsRehash(hash))
    }
  })

  await t.test('reads a long password to its end', async (t) => {
    const hash = await hasher.hash(`${long}A`)
    t.match(hash, /^\$bcrypt-sha256\$v=2,t=2b,r=4\$/)
    t.notOk(await hasher.verify(`${long}B`, hash))
    t.notOk(await hasher.verify('short', hash))
  })

  await t.test('reads passlib\'s bcrypt_sha256', async (t) => {
    // From passlib's documentation of the format, version 2.
    t.ok(await hasher.verify('password', '$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2'))
  })

  await t.test('verifies plain hashes of other software as they are', async (t) => {
    const hash = '$2y$10$IB5nzAqCA9NJR2S.2nZBW.wVyjqIEgTx2TT2dlNMcBmwbBfl/Jr3O'
    for (const kind of ['2a', '2b', '2y']) t.equal(await hasher.verify('not it', hash.replace('2y', kind)), false)
    const [own, minor] = [await hasher.hash('a password'), ['2a', '2y']]
    for (const kind of minor) t.ok(await hasher.verify('a password', own.replace(/^\$2\w/, `$${kind}`)))
  })

  await t.test('refuses damaged hashes, and absurd costs without computing them', async (t) => {
    const own = await hasher.hash('a password')
    const bad = ['', '!', 'x', own.slice(0, -1), `${own}x`, own.replace('$04$', '$31$'), own.replace('$04$', '$17$'), `${own}\n`,
      '$bcrypt-sha256$v=2,t=2b,r=31$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2', 'pbkdf2_sha256$260000$a$b', '$argon2id$v=19$m=1,t=1,p=1$a$b']
    for (const hash of bad) t.equal(await hasher.verify('a password', hash), false, hash.slice(0, 20))
    for (const hash of ['', 'pbkdf2_sha256$1$a$b']) t.ok(hasher.needsRehash(hash))
    t.ok(bcrypt({ cost: 5 }).needsRehash(own))
    t.notOk(hasher.needsRehash(own.replace('$04$', '$10$')))
  })

  await t.test('has a cost of 12, and refuses one out of bounds', async (t) => {
    for (const cost of [3, 17, 4.5, '4' as never]) t.throws(() => bcrypt({ cost }), { message: /cost must be an integer from 4 to 16/ })
    const standard = bcrypt()
    t.teardown(() => standard.close?.())
    t.match(await standard.hash('a password'), /^\$2[ab]\$12\$/)
  })

  await t.test('computes in the worker what bcryptjs does', async (t) => {
    const hash = await work({ password: 'a password', salt: '$2b$04$n79VH.0Q2TMWmt3Oqt9uku' }) as string
    t.match(hash, /^\$2b\$04\$n79VH\.0Q2TMWmt3Oqt9uk/)
    t.same([await work({ password: 'a password', hash }), await work({ password: 'another', hash })], [true, false])
  })

  await t.test('works again after it was closed', async (t) => {
    await hasher.close?.()
    await hasher.close?.()
    t.ok(await hasher.verify('a password', await hasher.hash('a password')))
  })

  await t.test('is bounded: too many at once are refused with 503', async (t) => {
    const own = await hasher.hash('a password')
    const results = await Promise.allSettled(Array.from({ length: 80 }, () => hasher.verify('a password', own)))
    const refused = results.filter((result) => result.status === 'rejected')
    t.equal(refused.length, 80 - 66)
    t.equal((refused[0] as PromiseRejectedResult).reason.code, 'FST_TOKEN_AUTH_OVERLOADED')
  })
})
