import t from 'tap'
import { createDoubts } from '../../lib/cache/doubts.js'
import { createRetriedWrites } from '../../lib/cache/retried-writes.js'

const digests = (from: number, count: number) => Array.from({ length: count }, (_, index) => `digest ${from + index}`)

t.test('the latest 10 000 acknowledged writes are not sent again, until they are forgotten', async (t) => {
  let sent: readonly string[] = []
  const writes = createRetriedWrites({
    operation: 'tombstone',
    isTerminal: true,
    send: async (digests) => { sent = digests },
    onFailure: t.fail,
    doubts: createDoubts(),
    overflowed: () => t.fail('too many')
  })
  const again = async (...digests: string[]) => {
    sent = []
    t.equal(await writes.write(digests), true)
    return sent
  }
  await writes.write(digests(0, 10_000))
  t.same(await again('digest 0', 'digest 9999'), [])
  await writes.write(digests(10_000, 1))
  t.same(await again('digest 0', 'digest 1', 'digest 10000'), ['digest 0'])
  t.same(await again('digest 1'), ['digest 1'], 'the oldest one has made room')
  writes.forget()
  t.same(await again('digest 10000'), ['digest 10000'])
  await writes.close()
})
