import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../../lib/index.js'
import { lookAtEverything, recover, RECOVERY_MS, settle } from './aftermath.js'
import type { Storm } from './asking.js'
import { check } from './checker.js'
import { runClient } from './clients.js'
import { createCluster } from './cluster.js'
import type { Cluster } from './cluster.js'
import { joinOffsets, measureClock } from './clock.js'
import { optionsOf } from './modes.js'
import type { Isolation, Mode } from './modes.js'
import { startNemesis } from './nemesis.js'
import type { Nemesis } from './nemesis.js'
import { createProfiles } from './profiles.js'
import { createRandom } from './random.js'
import { kindsOf } from './report.js'
import type { StormReport } from './report.js'
import { createDatabase, createUsers } from './services.js'
import type { Services } from './services.js'

const CLIENTS = 24
const IMMORTALS = 10
/** The number of deletable users at a time; users in reserve replace deleted ones. */
const MORTALS = 3
const RESERVE = 100
const MAX_PER_USER = 6
/** The clock of one server is right, one is far ahead and one far behind. */
const CLOCKS_MS = [0, 600_000, -600_000]
/** By the clock that is ahead most tokens seem to be expired, and by the one behind they never are. */
const LIFE_MS = 660_000

export interface StormSettings {
  mode: Mode
  isolation: Isolation
  seed: number
  /** A storm ends after this many operations, faults and kinds of faults, or after `mostMs`. */
  least: { operations: number, faults: number, kinds: number }
  mostMs: number
  /** Whether some faults last for seconds. */
  hasLongFaults: boolean
  /** Called at each tenth of the operations. */
  onProgress?: (percent: number) => void
}

/** Runs a storm, ends all faults, verifies that all answers still hold, and checks the history. */
export async function runStorm (t: Test, services: Services, settings: StormSettings): Promise<StormReport> {
  const { mode, isolation, seed } = settings
  const { redis, postgres } = services
  const database = `storm_${mode}_${isolation.replace(' ', '_')}`
  const namespace = `${database}:`
  const { options, bounds } = optionsOf({ mode, isolation, namespace })
  const storm = await createStorm(t, services, { database, options, isolation })
  const clockBefore = await measureClock(postgres)
  const startedAt = performance.now()
  const nemesis = startNemesis({ cluster: storm.cluster, redis, postgres, namespace, database }, { seed, hasLong: settings.hasLongFaults }, countSuccesses(storm))
  const isOver = untilOver(storm, nemesis, settings)
  await Promise.all(Array.from({ length: CLIENTS }, (_, index) => runClient(storm, createRandom(seed * 1000 + index), isOver)))
  const stormMs = performance.now() - startedAt
  await nemesis.stop()
  const { recoveryMs, health } = await recover(storm.cluster)
  await settle(postgres, database)
  await recover(storm.cluster)
  await lookAtEverything(storm, redis)
  await Promise.all(storm.cluster.members.map((member) => member.kill()))
  const clock = joinOffsets(clockBefore, await measureClock(postgres))
  const verdict = check(storm.history, { ...bounds, maxPerUser: MAX_PER_USER, clock })
  const troubles = [
    ...storm.cluster.crashes,
    ...(recoveryMs > RECOVERY_MS ? [`the servers needed ${Math.round(recoveryMs)} ms to recover: ${health.join(' ')}`] : [])
  ]
  const { history } = storm
  const { faults, failed } = nemesis
  return { name: `${mode}, ${isolation}, seed ${seed}`, history, faults, failed, stormMs, recoveryMs, boundMs: bounds.boundMs, ...verdict, troubles }
}

interface StormSetting { database: string, options: Partial<AuthPluginOptions>, isolation: Isolation }

async function createStorm (t: Test, { redis, postgres }: Services, { database, options, isolation }: StormSetting): Promise<Storm> {
  const connectionString = await createDatabase(postgres, database)
  const users = await createUsers(connectionString, { immortals: IMMORTALS, mortals: MORTALS + RESERVE, isolation })
  const cluster: Cluster = await createCluster(t, {
    clocksMs: CLOCKS_MS,
    database,
    redisPort: redis.port,
    postgresPort: postgres.port,
    options: {
      rateLimit: false,
      accountLimit: false,
      start: 'degraded',
      token: { maxPerUser: MAX_PER_USER, ttl: LIFE_MS },
      lookup: { timeout: 1000 },
      ...options
    }
  })
  const first = IMMORTALS + MORTALS
  return {
    cluster,
    users,
    present: users.slice(0, first),
    reserve: users.slice(first),
    tokens: [],
    history: [],
    ended: [],
    profiles: createProfiles(t, connectionString)
  }
}

function countSuccesses ({ history }: Storm): () => number {
  let seen = 0
  let successes = 0
  return () => {
    for (; seen < history.length; seen++) if (history[seen]!.outcome === 'ok') successes++
    return successes
  }
}

function untilOver ({ history }: Storm, { faults }: Nemesis, { least, mostMs, onProgress = () => {} }: StormSettings): () => boolean {
  const deadline = performance.now() + mostMs
  let told = 0
  return () => {
    const percent = Math.min(100, Math.floor(10 * history.length / least.operations) * 10)
    if (percent > told) onProgress(percent)
    told = percent
    if (performance.now() > deadline) return true
    return history.length >= least.operations && faults.length >= least.faults && kindsOf(faults).size >= least.kinds
  }
}
