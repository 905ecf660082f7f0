import t from 'tap'
import { atMostEvery, onceAnOutage } from '../../lib/tools/quiet-log.js'

t.test('onceAnOutage logs the first failure of each outage', async (t) => {
  const logged: string[] = []
  const outage = onceAnOutage((reason: string) => { logged.push(reason) })
  t.notOk(outage.succeeded(), 'nothing has failed yet')
  outage.failed('first')
  outage.failed('second')
  t.ok(outage.succeeded(), 'the outage ends')
  t.notOk(outage.succeeded(), 'and ends only once')
  outage.failed('third')
  t.same(logged, ['first', 'third'])
})

t.test('atMostEvery logs the first call, and the next one after the interval', async (t) => {
  let at = 0
  const logged: number[] = []
  const log = atMostEvery(1000, (count: number) => { logged.push(count) }, () => at)
  log(1)
  at = 999
  log(2)
  at = 1000
  log(3)
  t.same(logged, [1, 3])
})

t.test('atMostEvery uses the clock of the process by default', async (t) => {
  const logged: string[] = []
  const log = atMostEvery(60_000, (text: string) => { logged.push(text) })
  log('first')
  log('second')
  t.same(logged, ['first'])
})
