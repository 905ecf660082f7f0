import t from 'tap'
import { lazy } from '../../lib/tools/lazy.js'

t.test('creates the value once for all callers', async (t) => {
  let makes = 0
  const count = lazy(async () => ++makes)
  t.equal(count.value, null)
  t.same(await Promise.all([count.get(), count.get()]), [1, 1])
  t.equal(await count.get(), 1)
  t.equal(count.value, 1)
})

t.test('retries after a failure, also after a synchronous exception', async (t) => {
  let makes = 0
  const third = lazy(() => {
    makes++
    if (makes === 1) throw new Error('thrown')
    return makes === 2 ? Promise.reject(new Error('rejected')) : Promise.resolve('made')
  })
  await t.rejects(third.get(), { message: 'thrown' })
  await t.rejects(third.get(), { message: 'rejected' })
  t.equal(await third.get(), 'made')
})
