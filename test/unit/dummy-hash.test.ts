import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { createPasswordChecker } from '../../lib/passwords/checker.js'

function createChecker (t: Test) {
  const calls: string[] = []
  const checker = createPasswordChecker({
    hasher: {
      hash: async () => { calls.push('hash'); return 'own$dummy' },
      verify: async (_password, stored) => { calls.push(`verify ${stored}`); return false },
      needsRehash: () => false,
      understands: (stored) => stored.startsWith('own$')
    },
    verifiers: [],
    hashing: { concurrency: null, queue: 64, maxWaitMs: 60_000 },
    randomBytes,
    logger: { info () {}, warn () {}, error () {} }
  })
  t.teardown(() => checker.close())
  return { calls, checker }
}

t.test('a checker that verifies no password computes no dummy hash', async (t) => {
  const { calls, checker } = createChecker(t)
  await checker.hash('a new password')
  t.same(calls, ['hash'])
  await checker.close()
  t.same(calls, ['hash'])
})

t.test('the first login does the same work for a known and an unknown user, prepared or not', async (t) => {
  for (const [stored, verified] of [['own$known', 'own$known'], [null, 'own$dummy']] as const) {
    const { calls, checker } = createChecker(t)
    await checker.verify('guess', stored)
    t.same(calls, ['hash', `verify ${verified}`])
    const prepared = createChecker(t)
    prepared.checker.prepare()
    await prepared.checker.verify('guess', stored)
    t.same(prepared.calls, ['hash', `verify ${verified}`])
  }
})
