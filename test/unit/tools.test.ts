import t from 'tap'
import { refuseBundle } from '../../lib/tools/bundled.js'
import { createBreaker } from '../../lib/tools/breaker.js'
import { withDeadline } from '../../lib/tools/deadline.js'
import { createNextBatch } from '../../lib/tools/next-batch.js'
import { createPace } from '../../lib/tools/pace.js'
import { redactSecrets } from '../../lib/tools/redact.js'
import { createSemaphore } from '../../lib/tools/semaphore.js'
import { deferred } from '../helpers/deferred.js'

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('a semaphore', async (t) => {
  const full = () => new Error('overloaded')

  await t.test('limits how many tasks run and wait, and starts them in order', async (t) => {
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

  await t.test('rejects a task that waits too long, and does not lose its place', async (t) => {
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

  await t.test('rejects a task at once if its expected wait is too long', async (t) => {
    const semaphore = createSemaphore(slow)
    const task = deferred<string>()
    const runs = Array.from({ length: 5 }, () => semaphore.run(() => task.promise))
    t.same([semaphore.active, semaphore.waiting], [2, 3])
    await t.rejects(semaphore.run(async () => 'never'), { message: 'overloaded for 80000' })
    task.resolve('done')
    t.same(await Promise.all(runs), Array(5).fill('done'))
    t.equal(await semaphore.run(async () => 'next'), 'next', 'no task waits while a place is free')
  })

  await t.test('reserve() rejects work that would find no place before it begins', async (t) => {
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
    t.throws(announced, overloaded, 'each reservation counts once')
    task.resolve('done')
    t.same(await Promise.all(works), Array(5).fill('done'))
    t.equal(await announced(), 'done')
    const running = Array.from({ length: 5 }, () => semaphore.run(() => before.promise))
    t.throws(announced, overloaded, 'behind tasks without a reservation')
    await Promise.all(running)
  })
})

t.test('a pace is the weighted mean duration of tasks, with the latest weighted most', async (t) => {
  let at = 0
  const pace = createPace({ now: () => at })
  t.equal(pace.meanMs, 0)
  const take = (ms: number) => pace.run(async () => { at += ms })
  await take(100)
  t.equal(pace.meanMs, 100)
  await t.rejects(pace.run(async () => { at += 500; throw new Error('of the task') }), { message: 'of the task' })
  t.equal(pace.meanMs, 200, 'a task that fails counts too')
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
  t.equal(await settled.promise, 'late', 'late() is called when the work settles after the deadline')
  const failing = deferred<number>()
  await t.rejects(withDeadline(failing.promise, { timeoutMs: 5, expired }), { message: 'expired' })
  failing.reject(new Error('too late to matter'))
})

t.test('a deadline does not count the time in which the process itself was blocked', async (t) => {
  const expired = () => new Error('expired')
  const block = (ms: number) => { for (const end = performance.now() + ms; performance.now() < end;); }
  const answer = new Promise<string>((resolve) => setTimeout(resolve, 30, 'in time'))
  const waiting = withDeadline(answer, { timeoutMs: 20, expired })
  block(60)
  t.equal(await waiting, 'in time', 'a result that is available at the end of the stall')
  const never = withDeadline(new Promise(() => {}), { timeoutMs: 20, expired }).catch(({ message }) => message)
  for (let stalls = 0; stalls < 6; stalls++) {
    block(60)
    await new Promise((resolve) => setTimeout(resolve))
  }
  t.equal(await never, 'expired', 'the deadline expires, however often the process stalls')
})

t.test('a breaker opens after five failures in a row, and allows one probe at a time', async (t) => {
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

t.test('a call joins a batch only before it starts', async (t) => {
  const runs: { key: string, answer: ReturnType<typeof deferred<number>> }[] = []
  const join = createNextBatch((key) => { const answer = deferred<number>(); runs.push({ key, answer }); return answer.promise })
  const first = join('a')
  const [second, third, other] = [join('a'), join('a'), join('b')]
  t.same(runs.map(({ key }) => key), ['a', 'b'])
  runs[0]!.answer.reject(new Error('of the first'))
  await t.rejects(first, { message: 'of the first' })
  await turn()
  t.equal(runs.length, 3, 'the two calls during the run share the next one')
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

t.test('a redacted error keeps its message and stack, and contains the secret in no spelling', (t) => {
  t.equal(redactSecrets('refused', 'secret').message, 'refused')
  t.equal(redactSecrets(new Error('refused'), 'secret').message, 'refused')
  t.match(redactSecrets(new Error('refused'), 'secret').stack, /^refused\n {4}at /)
  t.equal(redactSecrets(new TypeError('not a%20SECRET?'), 'a secret').message, 'TypeError, whose message is not shown as it has a secret in it')
  t.equal(redactSecrets(Object.assign(new Error('secret'), { name: 'secret' }), 'secret').message, 'An error, whose message is not shown as it has a secret in it')
  t.end()
})

t.test('what a bundle lacks is refused by name', (t) => {
  refuseBundle('a part')
  t.throws(() => refuseBundle('a part', true), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /^a part needs a file that is not in the bundle: exclude the package/ })
  t.end()
})
