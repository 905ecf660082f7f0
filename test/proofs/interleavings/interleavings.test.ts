import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import type { Digest } from '../../../lib/index.js'
import { exploreInterleavings } from '../../../lib/testing/index.js'
import type { InterleavingReport } from '../../../lib/testing/index.js'
import { CONTROLS, DELETE_WITH_LEASES } from './broken-stores.js'
import { CONCURRENCY, openProtocolBench } from './bench.js'
import type { ProtocolBench, State } from './bench.js'
import { ACTORS, countGranted, independent } from './processes.js'
import { CONTROL_SAMPLE, COUNTED_RACES, EVERYONE, explore, inProcessRacesOf, isTried, LEAST_SCHEDULES, OTHER_ISOLATIONS, racesOf, SAMPLE, SAMPLED_CONTROLS, SAMPLED_RACES } from './races.js'
import type { Race } from './races.js'
import { REVOKERS } from './revokers.js'
import { createWorld, loginCrowded, refuse } from './world.js'
import type { World } from './world.js'
import { createReplayedFill } from './replayed-fill.js'
import { say } from '../../helpers/say.js'
import { until } from '../../helpers/until.js'

const total = { schedules: 0, orders: 0, sampled: 0 }

function nameOf (revoker: string, { actors, isCrashing = false }: Race): string {
  return [...actors, isCrashing ? `${revoker} with a crash` : revoker].join(', ')
}

async function hold (t: Test, bench: ProtocolBench, revoker: string, race: Race): Promise<void> {
  const { schedules, orders, violations } = await explore(bench, { revoker, ...race })
  t.same(violations, [], `${nameOf(revoker, race)}: ${schedules} schedules for ${orders} orders`)
  total.schedules += schedules
  total.orders += orders
}

async function holdSample (t: Test, bench: ProtocolBench, revoker: string, race: Race): Promise<void> {
  const { schedules, violations, sample } = await explore(bench, { revoker, ...race }, { sample: SAMPLE })
  t.same(violations, [], `${nameOf(revoker, race)}: a sample of ${schedules} schedules`)
  t.same({ schedules, sample }, { schedules: SAMPLE.schedules, sample: SAMPLE })
  total.sampled += schedules
}

/** The first violation as text. */
function show ({ violations: [first] }: InterleavingReport): string {
  return [...first!.schedule, first!.message].join(' > ')
}

t.test('with Redis', async (t) => {
  const bench = await openProtocolBench(t)

  for (const revoker of Object.keys(REVOKERS)) {
    t.test(`no request that starts after ${revoker} has returned is accepted, in any order of steps`, async (t) => {
      for (const race of racesOf(revoker, 'read committed')) await hold(t, bench, revoker, race)
    })

    t.test(`no request that starts after ${revoker} has returned is accepted, in sampled orders of all processes`, async (t) => {
      for (const race of SAMPLED_RACES) await holdSample(t, bench, revoker, race)
    })
  }

  t.test('two concurrent logins leave one live token if maxPerUser is 1, in any order of steps', async (t) => {
    const { schedules, violations } = await exploreInterleavings<World>({
      setup: (wrap) => createWorld(bench, wrap),
      processes: { 'reader A': ACTORS['reader A'], 'crowded login': loginCrowded, 'other login': loginCrowded },
      check: async (world) => {
        await refuse(world.a, world.state.digest)
        const live = await countGranted(world)
        if (live !== 1) throw new Error(`${live} tokens are accepted`)
      },
      independent,
      concurrency: CONCURRENCY
    })
    t.same(violations, [], `${schedules} schedules`)
  })

  t.test('a call that ends all sessions waits for a concurrent logout, and returns its digest too', async (t) => {
    const { ports: { revocations, sessions }, pool } = bench
    const token = { digest: randomBytes(32).toString('base64url'), ttlMs: 60_000, ip: null, userAgent: null, label: null, scopes: null }
    const ends: Record<string, (state: State) => Promise<Digest[]>> = {
      user: async ({ userId }) => (await revocations.user(userId, 'logout_all')).digests,
      setPassword: async ({ userId }) => (await revocations.setPassword(userId, 'new')).digests,
      setActive: async ({ userId }) => (await revocations.setActive(userId, false)).digests,
      deleteUser: async ({ userId }) => (await revocations.deleteUser(userId)).digests,
      changePassword: async ({ userId, otherSessionId: sessionId }) =>
        (await sessions.changePassword({ userId, sessionId, verifiedHash: 'hash of old', newHash: 'new', token }))!.displaced.digests
    }
    for (const [name, end] of Object.entries(ends)) {
      const state = await bench.nextState()
      const logout = await pool.connect()
      await logout.query('begin')
      await logout.query('update auth_tokens set revoked_at = now(), stale_at = now(), revoke_reason = \'logout\' where id = $1', [state.sessionId])
      const ended = end(state)
      await until(async () => (await pool.query('select 1 from pg_stat_activity where datname = current_database() and wait_event_type = \'Lock\'')).rows.length > 0, 'it waits for the row')
      await logout.query('commit')
      logout.release()
      t.same((await ended).sort(), [...state.digests].sort(), name)
    }
  })

  t.test('the counted orders with reduction equal the schedules that brute force runs', async (t) => {
    for (const race of COUNTED_RACES) {
      const reduced = await explore(bench, { revoker: 'logout', ...race })
      const all = await explore(bench, { revoker: 'logout', ...race }, { independent: () => false })
      t.equal(reduced.orders, all.schedules)
      t.ok(reduced.schedules < all.schedules / 2)
      t.same(all.violations, [])
    }
  })

  for (const [name, control] of Object.entries(CONTROLS).filter(([name]) => isTried(name))) {
    t.test(`control: ${name} is caught`, async (t) => {
      const reduced = await explore(bench, control, { stopAtFirst: true })
      t.not(reduced.violations.length, 0, `${reduced.schedules} schedules`)
      const bruteForce = await explore(bench, control, { independent: () => false, concurrency: 1, stopAtFirst: true })
      t.not(bruteForce.violations.length, 0)
      t.comment(`${name}: ${show(bruteForce)}`)
    })
  }

  for (const name of SAMPLED_CONTROLS) {
    t.test(`control: ${name} is caught by a sample of the orders of all processes`, async (t) => {
      const sampled = await explore(bench, { ...CONTROLS[name]!, actors: EVERYONE }, { sample: CONTROL_SAMPLE, stopAtFirst: true })
      t.not(sampled.violations.length, 0, `${sampled.schedules} schedules`)
    })
  }

  t.test('leases alone are correct too: DEL is a mistake only if fills do not compare the lease', async (t) => {
    const { violations } = await explore(bench, { revoker: 'logout', actors: ['reader A', 'eviction'], broken: DELETE_WITH_LEASES })
    t.same(violations, [])
  })

  t.test('control: default ioredis settings are caught, because they replay a fill into a Redis that restarted empty', async (t) => {
    const replay = await createReplayedFill(t, bench)
    const caught = await replay({ settings: 'default', fill: 'unconditional' })
    t.not(caught.violations.length, 0)
    t.comment(`default ioredis settings: ${show(caught)}`)
    t.same((await replay({ settings: 'ours', fill: 'unconditional' })).violations, [], 'with the plugin\'s settings the fill is lost')
    t.same((await replay({ settings: 'default', fill: 'with lease' })).violations, [], 'with a lease it is refused')
  })
})

for (const isolation of OTHER_ISOLATIONS) {
  t.test(`with Redis, in a database whose default is ${isolation}`, async (t) => {
    const bench = await openProtocolBench(t, 'redis', isolation)
    t.equal((await bench.pool.query('show transaction_isolation')).rows[0].transaction_isolation, isolation)
    for (const revoker of Object.keys(REVOKERS)) {
      t.test(`no request that starts after ${revoker} has returned is accepted, in any order of steps`, async (t) => {
        for (const race of racesOf(revoker, isolation)) await hold(t, bench, revoker, race)
      })
    }
  })
}

t.test('with the in-process cache', async (t) => {
  const bench = await openProtocolBench(t, 'memory')
  for (const revoker of Object.keys(REVOKERS)) {
    t.test(`no request that starts after ${revoker} has returned is accepted, in any order of steps`, async (t) => {
      for (const race of inProcessRacesOf(revoker)) await hold(t, bench, revoker, race)
    })
  }
})

t.test('the number of schedules', async (t) => {
  t.ok(total.schedules > LEAST_SCHEDULES)
  say(`${total.schedules} schedules run, for ${total.orders} orders of steps, and a sample of ${total.sampled} of all at once`)
})
