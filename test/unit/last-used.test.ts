import t from 'tap'
import { createLastUsed } from '../../lib/services/last-used.js'
import { deferred } from '../helpers/deferred.js'

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('last uses', async (t) => {
  const record = (sessionId: string, idleAtMs: number | null = null) => ({ sessionId, idleAtMs, user: { id: 1, username: 'a' }, issuedAtMs: 0, expiresAtMs: 9e15, scopes: null })
  function bench (intervalMs = 3_600_000) {
    const at = { ms: 1000 }
    const writes: { ids: string[], ages: number[], done: ReturnType<typeof deferred<undefined>> }[] = []
    const warnings: string[] = []
    const logger = { info () {}, error () {}, warn (_fields: object, message: string) { warnings.push(message) } }
    const touch = (ids: string[], ages: number[]) => { const done = deferred<undefined>(); writes.push({ ids, ages, done }); return done.promise }
    return { at, writes, warnings, ...createLastUsed({ touch, intervalMs, now: () => at.ms, databaseNow: () => at.ms, logger }) }
  }

  await t.test('are written once per session, with their age', async (t) => {
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

  await t.test('that occur during a write are written by the next one', async (t) => {
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

  await t.test('that cannot be written are retried, without losing newer ones', async (t) => {
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

  await t.test('that cannot be written are logged once per outage, and cause no urgent writes meanwhile', async (t) => {
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

  await t.test('are kept up to the limit when the write of a whole batch fails', async (t) => {
    const { writes, note, flush, close } = bench()
    for (let i = 0; i < 10_000; i++) note(record(`s${i}`))
    for (let i = 0; i < 15_000; i++) note(record(`t${i}`))
    writes[0]!.done.reject(new Error('away'))
    await turn()
    const { ids, done } = writes[1]!
    t.equal(ids.length, 20_000)
    t.ok(ids.includes('t14999') && ids.includes('s4999') && !ids.includes('s5000'), 'the newer ones are kept first')
    done.resolve(undefined)
    await flush()
    await close()
  })

  await t.test('are limited in number while they cannot be written', async (t) => {
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

  await t.test('close to the idle limit are written once, at once', async (t) => {
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
