import { exploreInterleavings } from '../../../lib/testing/index.js'
import type { Exploration, InterleavingReport, Processes } from '../../../lib/testing/index.js'
import { independentIn } from './near-steps.js'
import { closeAll, createWorld } from './near-world.js'
import type { ServerName, World, WorldSettings } from './near-world.js'
import { request } from './near-server.js'

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
