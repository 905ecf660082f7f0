import t from 'tap'
import type { Test } from 'tap'
import { createIdleHurry } from '../../lib/services/idle-hurry.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createInjectedClock } from '../helpers/injected-clock.js'
import { createDatabase } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { openPool } from '../helpers/pools.js'

/** A server with an idle limit of 60 s, a clock that the test sets, and sessions that began at 0. The server's own clock is `behindMs` behind PostgreSQL's. */
async function openSessions (t: Test, count: number, { behindMs = 0, token = { idleTtl: '60s' } }: { behindMs?: number, token?: { idleTtl: string, touchInterval?: string } } = {}) {
  const clock = await createInjectedClock(t)
  const app = await createApp(t, testOptions(clock.url, { now: () => clock.now() - behindMs, token }))
  const { username } = await createUser(app)
  const tokens: string[] = []
  for (let i = 0; i < count; i++) tokens.push(await login(app, username))
  const pool = openPool(t, { connectionString: clock.url, max: 1 })
  return {
    pool,
    tokens,
    async statusAt (seconds: number, token = tokens[0]!): Promise<number> {
      await clock.setTo(seconds)
      return (await caller(app)('GET', '/protected', { token })).statusCode
    },
    /** Waits until PostgreSQL has the use at this second. */
    async written (seconds: number, token = tokens[0]!): Promise<void> {
      await until(async () => {
        const { rows: [row] } = await pool.query('select (extract(epoch from last_used_at) * 1000)::float8 as ms from auth_tokens where digest = $1', [Buffer.from(digestOf(token), 'base64url')])
        return row.ms === clock.instant(seconds)
      }, `the use at ${seconds} s is written`)
    }
  }
}

t.test('a session in use is never refused, however its uses are spaced within the idle limit', async (t) => {
  const { statusAt, written } = await openSessions(t, 1)
  t.equal(await statusAt(50), 200)
  await written(50)
  t.equal(await statusAt(100), 200)
  await written(100)
  t.equal(await statusAt(105), 200)
  for (const seconds of [112, 118, 150, 164]) t.equal(await statusAt(seconds), 200, `at ${seconds} s`)
})

t.test('nor if the clock of the server is behind', async (t) => {
  const hours = 3600
  const { statusAt, written } = await openSessions(t, 1, { behindMs: 3 * hours * 1000, token: { idleTtl: '4h', touchInterval: '1h' } })
  t.equal(await statusAt(3 * hours), 200)
  await written(3 * hours)
  t.equal(await statusAt(6 * hours), 200)
})

t.test('each use is written when several sessions approach their idle limit in turn', async (t) => {
  const { statusAt, written, tokens } = await openSessions(t, 3)
  for (let round = 0; round < 4; round++) {
    for (const [i, token] of tokens.entries()) {
      const seconds = 44 + 52 * round + 4 * i
      t.equal(await statusAt(seconds, token), 200, `session ${i} at ${seconds} s`)
      await written(seconds, token)
    }
  }
})

t.test('a use that could not be written is retried before the session\'s idle limit', async (t) => {
  const { statusAt, written, pool } = await openSessions(t, 1)
  await pool.query(`create function no() returns trigger language plpgsql as 'begin raise exception ''not now''; end';
    create trigger no before update of last_used_at on auth_tokens execute function no()`)
  t.equal(await statusAt(50), 200)
  await pool.query('drop trigger no on auth_tokens')
  await written(50)
  t.equal(await statusAt(100), 200)
})

t.test('an idle session expires, and stays expired', async (t) => {
  const { statusAt, written } = await openSessions(t, 1)
  t.equal(await statusAt(50), 200)
  await written(50)
  for (const seconds of [111, 112, 130]) t.equal(await statusAt(seconds), 401)
})

t.test('an urgent write of a session\'s last use', async (t) => {
  const LIMIT = 60_000

  await t.test('is due once per interval near the idle limit, and again near the next limit', (t) => {
    const { claimUrgentWrite } = createIdleHurry({ intervalMs: 15_000, most: 100 })
    const uses: [number, number, boolean][] = [[29_999, LIMIT, false], [50_000, LIMIT, true], [51_000, LIMIT, false], [100_000, 110_000, true], [105_000, 110_000, false], [116_000, 110_000, true]]
    for (const [at, idleAtMs, due] of uses) t.equal(claimUrgentWrite('a', idleAtMs, at), due, `at ${at}`)
    t.equal(claimUrgentWrite('a', null, 200_000), false, 'without a limit')
    t.end()
  })

  await t.test('is due ten seconds before the idle limit, however short the interval', (t) => {
    const { claimUrgentWrite } = createIdleHurry({ intervalMs: 50, most: 100 })
    t.equal(claimUrgentWrite('a', LIMIT, 39_000), false)
    t.equal(claimUrgentWrite('a', LIMIT, 49_000), true)
    t.end()
  })

  await t.test('is due again if the clock was set back or the write was given up', (t) => {
    const { claimUrgentWrite, forget } = createIdleHurry({ intervalMs: 15_000, most: 100 })
    t.equal(claimUrgentWrite('a', LIMIT, 50_000), true)
    t.equal(claimUrgentWrite('a', LIMIT - 20_000, 30_000), true)
    forget('a')
    t.equal(claimUrgentWrite('a', LIMIT, 31_000), true)
    t.end()
  })

  await t.test('is tracked for a limited number of sessions, and is due again for those beyond it', (t) => {
    const { claimUrgentWrite } = createIdleHurry({ intervalMs: 15_000, most: 100 })
    const latest = Array.from({ length: 1000 }, (_, i) => `s${999 - i}`)
    t.ok(latest.toReversed().every((sessionId) => claimUrgentWrite(sessionId, LIMIT, 50_000)))
    t.equal(latest.filter((sessionId) => !claimUrgentWrite(sessionId, LIMIT, 50_000)).length, 100)
    t.end()
  })
})

t.test('idle sessions are pruned too', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  const host = await createApp(t, testOptions(database.url, { token: { idleTtl: '60s' } }))
  const { username } = await createUser(host)
  const token = await login(host, username)
  const pool = openPool(t, { connectionString: database.url })
  await pool.query('update auth_tokens set last_used_at = now() - interval \'8 days\' where digest = $1', [Buffer.from(digestOf(token), 'base64url')])
  t.equal(await host.tokenAuth.pruneExpired(), 1)
})
