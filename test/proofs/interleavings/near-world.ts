import { createServerId } from '../../../lib/cache/peers.js'
import type { Digest } from '../../../lib/index.js'
import { createTestClock } from '../../../lib/testing/index.js'
import type { Process, TestClock, Wrap } from '../../../lib/testing/index.js'
import type { Timing } from '../../../lib/tools/timing.js'
import { createNetwork } from './near-network.js'
import type { Network } from './near-network.js'
import { openServer, request } from './near-server.js'
import type { Mistake, Server, ServerSettings } from './near-server.js'
import { RENAMED } from './near-stores.js'
import type { NextStores, Stores } from './near-stores.js'

/** The time between two ticks. The revoker waits one for acknowledgements. */
export const TICK_MS = 500
/** Leases that end, for the member and for the revoker, at the first and at the second tick. */
export const SHORT_LEASE_MS = 480
export const LONG_LEASE_MS = 970

export type ServerName = 'a' | 'b' | 'c'

export interface WorldSettings {
  nextStores: NextStores
  /** The servers, by what is special about each. */
  servers: Partial<Record<ServerName, ServerState>>
  leaseMs?: number
  leaseRedis?: boolean
  hasRedis?: boolean
  hasEchoes?: boolean
  spareTicks?: number
  mistake?: (name: string) => Mistake
}

export interface ServerState {
  /** Whether it may answer from its memory. Default: true. */
  isMember?: boolean
  /** Whether it becomes a member before the schedule begins. Default: true. */
  isStarted?: boolean
  /** Whether it has both tokens in its memory at first. Default: false. */
  isFilled?: boolean
  /** The Redis that it is connected to. Default: 0. */
  place?: number
}

export interface World {
  clock: TestClock
  stores: Stores
  network: Network
  servers: Record<ServerName, Server>
  /** What comes to a server at any time. */
  events: Record<'request' | 'timer' | 'failover', () => Promise<void>>
  /** The tokens whose end was answered. */
  ended: Set<Digest>
}

/** Redis' pub/sub, and `NOTIFY`. */
const [REDIS_LENGTH, NOTIFY_LENGTH] = [22_000, 7900]

export async function createWorld (wrap: Wrap, { nextStores, servers, leaseMs = SHORT_LEASE_MS, leaseRedis = false, hasRedis = true, hasEchoes = false, spareTicks = 0, mistake }: WorldSettings): Promise<World> {
  const clock = createTestClock(wrap, { tickMs: TICK_MS, spareTicks })
  const network = createNetwork(wrap, { hasEchoes, maxLength: hasRedis ? REDIS_LENGTH : NOTIFY_LENGTH })
  const ids = new Map(Object.keys(servers).map((name) => [name, createServerId()]))
  const plain = await nextStores((member) => [...ids.values()].some((id) => member.startsWith(`${id}.`)))
  const stores: Stores = {
    digests: plain.digests,
    rows: wrap('sql', plain.rows, { replies: ['find'] }),
    members: wrap('members', plain.members, { replies: ['isMember'] }),
    places: [wrap('cache', plain.places[0]), wrap('cache', plain.places[1])]
  }
  const running = { value: false }
  const timing = createTiming(clock, running)
  const opened = Object.entries(servers).map(([name, { isMember = true, place = 0 }]) => {
    const settings: ServerSettings = { leaseMs: isMember ? leaseMs : null, leaseRedis, hasRedis, ...mistake === undefined ? {} : { mistake } }
    return [name, openServer(settings, { self: { name, id: ids.get(name)!, place }, stores, network, clock, timing })] as const
  })
  const world: World = {
    clock,
    stores,
    network,
    servers: Object.fromEntries(opened) as unknown as World['servers'],
    events: wrap('event', { request: async () => {}, timer: async () => {}, failover: async () => {} }),
    ended: new Set()
  }
  for (const [name, { isStarted = true, isFilled = false }] of Object.entries(servers) as [ServerName, ServerState][]) {
    await world.servers[name].connect()
    if (isStarted) await world.servers[name].start()
    if (isFilled) for (const digest of stores.digests) await request(world.servers[name], digest)
  }
  network.begin()
  running.value = true
  return world
}

/** The reason to withdraw a pause. One for all, because to make one takes long. */
const IN_TIME = new Error('in time')

// Before the schedule begins, no time passes.
function createTiming (clock: TestClock, running: { value: boolean }): Omit<Timing, 'createRepeated'> {
  return {
    pause: clock.pause,
    async withDeadline (work, { timeoutMs, expired }) {
      if (!running.value) return await work
      const over = new AbortController()
      const late = clock.pause(timeoutMs, over).then(() => { throw expired() })
      return await Promise.race([work, late]).finally(() => over.abort(IN_TIME))
    }
  }
}

export const logoutOn = (name: ServerName, token: 0 | 1 = 0): Process<World> => async ({ stores, servers, ended }) => {
  const server = servers[name]
  const digest = stores.digests[token]
  await server.beforeCommit(() => server.write('end', [digest]))
  while (!await server.write('end', await stores.rows.end(digest))) { /* 503: the client repeats the call */ }
  ended.add(digest)
}

export const refreshOn = (name: ServerName): Process<World> => async ({ stores, servers }) => {
  await stores.rows.rename()
  while (!await servers[name].write('drop', await stores.rows.refresh())) { /* 503 */ }
}

export const readOn = (name: ServerName, token: 0 | 1 = 0): Process<World> => async ({ events, servers, stores }) => {
  await events.request()
  await request(servers[name], stores.digests[token])
}

/** A request that must be refused. */
export const refuseOn = (name: ServerName, token: 0 | 1 = 0): Process<World> => async ({ events, servers, stores }) => {
  await events.request()
  if (await request(servers[name], stores.digests[token]) !== null) throw new Error(`${name} accepts a revoked token`)
}

/** A request that must not see the old profile. */
export const seeRenamedOn = (name: ServerName): Process<World> => async ({ events, servers, stores }) => {
  await events.request()
  const found = await request(servers[name], stores.digests[0])
  if (found === null || !found.user.username.endsWith(RENAMED)) throw new Error(`${name} shows an old profile`)
}

/** Renewals of a membership, at any time. */
export const renewOn = (name: ServerName, count: number): Process<World> => async ({ events, servers }) => {
  for (let i = 0; i < count; i++) {
    await events.timer()
    await servers[name].beat()
  }
}

export const moveOn = (name: ServerName, place: number): Process<World> => async ({ events, servers }) => {
  await events.failover()
  servers[name].move(place)
}

/** Redis forgets the tokens, and as it was restarted, the server connects anew. */
export const emptyOn = (name: ServerName): Process<World> => async (world) => {
  await world.stores.places[0].drop(world.stores.digests)
  await moveOn(name, 0)(world)
}

export const evict: Process<World> = async ({ stores }) => await stores.places[0].drop([stores.digests[0]])

/** Its subscription breaks. */
export const cutOn = (name: ServerName): Process<World> => async ({ network }) => await network.wire.cut(name)

/** It becomes a member: the first step is its subscription. */
export const startOn = (name: ServerName): Process<World> => async ({ servers }) => await servers[name].start()

export async function closeAll ({ servers }: World): Promise<void> {
  await Promise.all(Object.values(servers).map((server) => server.close()))
}
