import t from 'tap'
import { createTestClock, exploreInterleavings } from '../../lib/testing/index.js'
import type { Processes, TestClock, TestClockSettings } from '../../lib/testing/index.js'

interface World { clock: TestClock, log: string[] }

const passing = { isDaemon: true, run: async ({ clock }: World) => await clock.run() }

/** Every log that the processes can write, and the number of schedules. */
async function explore (processes: Processes<World>, settings?: TestClockSettings) {
  const logs = new Set<string>()
  const report = await exploreInterleavings<World>({
    setup: (wrap) => ({ clock: createTestClock(wrap, settings), log: [] }),
    processes: { clock: passing, ...processes },
    check: ({ log, clock }) => { logs.add([...log, `end ${clock.now()}`].join(', ')) }
  })
  return { ...report, logs: [...logs].sort() }
}

const pauseOf = (name: string, ms: number) => async ({ clock, log }: World) => {
  await clock.pause(ms)
  log.push(`${name} ${clock.now()}`)
}

t.test('a pause ends when its time has passed, and as late as the spare ticks allow', async (t) => {
  t.same((await explore({ ann: pauseOf('a', 2) }, { spareTicks: 0 })).logs, ['a 2, end 2'])
  t.same((await explore({ ann: pauseOf('a', 2) })).logs, ['a 2, end 3', 'a 3, end 3'])
  t.same((await explore({ ann: pauseOf('a', 2) }, { spareTicks: 2 })).logs, ['a 2, end 4', 'a 3, end 4', 'a 4, end 4'])
  t.same((await explore({ ann: pauseOf('a', 25) }, { tickMs: 10, spareTicks: 0 })).logs, ['a 30, end 30'])
  t.same((await explore({ ann: pauseOf('a', 0) }, { spareTicks: 0 })).logs, ['a 0, end 0'])
})

t.test('pauses of several processes overlap, and none ends early', async (t) => {
  const { logs } = await explore({ ann: pauseOf('a', 1), bob: pauseOf('b', 2) }, { spareTicks: 0 })
  t.same(logs, ['a 1, b 2, end 2', 'a 2, b 2, end 2', 'b 2, a 2, end 2'])
})

t.test('time passes beside a process that does not wait for it, in spare ticks only', async (t) => {
  const look = async ({ clock, log }: World) => {
    await clock.pause(0)
    const from = clock.now()
    await clock.pause(0)
    log.push(`${from} to ${clock.now()}`)
  }
  t.same((await explore({ ann: look }, { spareTicks: 0 })).logs, ['0 to 0, end 0'])
  t.same((await explore({ ann: look }, { spareTicks: 2 })).logs, ['0 to 0, end 2', '0 to 1, end 2', '0 to 2, end 2', '1 to 1, end 2', '1 to 2, end 2', '2 to 2, end 2'])
})

t.test('time does not pass for a pause that is withdrawn', async (t) => {
  const race = async ({ clock, log }: World) => {
    const over = new AbortController()
    const later = clock.pause(5, over).catch((error: Error) => { log.push(error.name) })
    await clock.pause(1)
    over.abort()
    await later
  }
  const { logs, violations } = await explore({ ann: race }, { spareTicks: 0 })
  t.same(logs, ['AbortError, end 1', 'AbortError, end 2', 'AbortError, end 3', 'AbortError, end 4', 'AbortError, end 5', 'end 5'], 'or it has ended before')
  t.same(violations, [])
})

t.test('a pause without the process of the clock is a deadlock', async (t) => {
  const { violations: [first] } = await explore({ clock: async () => {}, ann: pauseOf('a', 1) })
  t.equal(first!.message, 'deadlock: ann cannot go on, since no waiting step is possible (ann: clock.pause)')
})

t.test('outside of a process time passes at once', async (t) => {
  const { violations } = await exploreInterleavings<TestClock>({
    setup: async (wrap) => {
      const clock = createTestClock(wrap)
      await clock.pause(3)
      return clock
    },
    processes: { ann: async (clock) => { await clock.pause(0) } },
    check: async (clock) => {
      await clock.pause(4)
      t.equal(clock.now(), 7)
    }
  })
  t.same(violations, [])
})

t.test('wrong settings and times are refused by name', async (t) => {
  const refused: [TestClockSettings, string][] = [
    [{ tickMs: 0 }, 'tickMs must be an integer from 1 to 1000000000, got 0'],
    [{ spareTicks: -1 }, 'spareTicks must be an integer from 0 to 1000, got -1'],
    [{ spare: 1 } as TestClockSettings, 'Unknown option "spare"; known options: tickMs, spareTicks']
  ]
  for (const [settings, message] of refused) await t.rejects(explore({}, settings), { message, code: 'FST_TOKEN_AUTH_INVALID_OPTION' })
  for (const ms of [NaN, Infinity, -1]) {
    const { violations } = await explore({ ann: pauseOf('a', ms) })
    t.equal(violations[0]?.message, `ann: ms must be a number of milliseconds, got ${ms}`)
  }
})
