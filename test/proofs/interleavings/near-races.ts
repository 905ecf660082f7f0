import { exploreInterleavings } from '../../../lib/testing/index.js'
import type { Exploration, InterleavingReport, Processes } from '../../../lib/testing/index.js'
import { independentIn } from './near-steps.js'
import { closeAll, createWorld } from './near-world.js'
import type { ServerName, World, WorldSettings } from './near-world.js'
import { request } from './near-server.js'
import type { RaceName } from './near-scenarios.js'

/** `short`: in `npm test`. The full form takes some minutes. */
const isShort = (process.env['INTERLEAVINGS'] ?? 'short') === 'short'

export interface NearRace extends Omit<WorldSettings, 'nextStores'> {
  processes: Processes<World>
  /** Servers that messages do not reach. */
  deaf?: ServerName[]
}

const forever = async (step: () => Promise<void>) => { for (;;) await step() }

/** The messages to each server, its subscription, and the clock. */
function daemonsOf (names: string[], deaf: string[]): Processes<World> {
  const hearing = names.filter((name) => !deaf.includes(name))
  return {
    ...Object.fromEntries(hearing.map((name) => [`network to ${name}`, { isDaemon: true, run: ({ network: { wire } }) => forever(() => wire.deliver(name)) }])),
    ...Object.fromEntries(names.map((name) => [`subscriber ${name}`, { isDaemon: true, run: ({ network: { wire } }) => forever(() => wire.subscribe(name)) }])),
    clock: { isDaemon: true, run: async ({ clock }) => await clock.run() }
  }
}

export async function exploreNear ({ processes, deaf = [], ...settings }: NearRace, nextStores: WorldSettings['nextStores'], more: Partial<Exploration<World>> = {}): Promise<InterleavingReport> {
  return await exploreInterleavings<World>({
    setup: (wrap) => createWorld(wrap, { ...settings, nextStores }),
    processes: { ...processes, ...daemonsOf(Object.keys(settings.servers), deaf) },
    check: async (world) => {
      for (const server of Object.values(world.servers)) {
        for (const digest of world.ended) if (await request(server, digest) !== null) throw new Error(`${server.name} accepts a revoked token at the end`)
      }
      await closeAll(world)
    },
    independent: independentIn(settings),
    maxSchedules: 200_000,
    ...more
  })
}

/** Races whose orders are too many, or of more steps than can be counted: a sample is run. */
const SAMPLED: RaceName[] = [
  'a server that joins, and a read',
  'a subscription that breaks',
  'two revokers',
  'a Redis that restarts empty',
  'a Redis that is replaced',
  'a split Redis, and renewals',
  'without Redis, a subscription that breaks'
]

/** Races with many orders: the short form runs a sample. */
const LONG: RaceName[] = [
  'an entry, and a renewal',
  'an entry, and a renewal of a longer lease',
  'an entry, and two renewals without messages',
  'an entry, and another read',
  'a read',
  'a server that joins',
  'a subscription that breaks, and no messages',
  'an eviction',
  'a refresh, and a read',
  'without Redis, an entry and a renewal',
  'without Redis, a read',
  'without Redis, a server that joins',
  'without Redis, a server that joins and a read',
  'without Redis, a subscription that breaks and no messages',
  'without Redis, a refresh and a read'
]

export function hasAllOrders (name: RaceName): boolean {
  return !SAMPLED.includes(name) && !(isShort && LONG.includes(name))
}

export const SMALL_SAMPLE = { schedules: isShort ? 20 : 800, seed: 1 }
export const LARGE_SAMPLE = { schedules: isShort ? 20 : 800, seed: 1 }
export const REAL_SAMPLE = { schedules: isShort ? 1 : 30, seed: 1 }
/** A control stops at the first violation. The seeds are such that this is one of the first schedules. */
export const CONTROL_SCHEDULES = 2000

/** Races that brute force runs too. */
export const COUNTED: RaceName[] = isShort ? ['an entry'] : ['an entry', 'an entry, and a renewal without messages', 'a refresh, and an entry']
