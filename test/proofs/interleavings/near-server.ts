import type { Digest, TokenCache } from '../../../lib/index.js'
import type { TokenRecord } from '../../../lib/ports.js'
import { createCacheAvailability } from '../../../lib/cache/availability.js'
import { createCacheConsistency } from '../../../lib/cache/consistency.js'
import type { CacheConsistency, CacheConsistencySettings } from '../../../lib/cache/consistency.js'
import { createDoubts } from '../../../lib/cache/doubts.js'
import { NO_HEARTBEAT } from '../../helpers/no-heartbeat.js'
import { createLocalWrites } from '../../../lib/cache/local-writes.js'
import { createDatabaseRead, createSharedRead } from '../../../lib/cache/lookup.js'
import { openNear } from '../../../lib/cache/near.js'
import type { Near, NearParts, NearSettings } from '../../../lib/cache/near.js'
import { createNearCache } from '../../../lib/cache/near-cache.js'
import type { RecordLookup } from '../../../lib/cache/near-lookup.js'
import { createReadThrough } from '../../../lib/cache/read-through.js'
import { UNSEALED } from '../../../lib/crypto/seal.js'
import { createDatabaseClock } from '../../../lib/tools/database-clock.js'
import type { Timing } from '../../../lib/tools/timing.js'
import type { TestClock } from '../../../lib/testing/index.js'
import type { Connected, Network } from './near-network.js'
import type { Stores } from './near-stores.js'

/** How a broken server differs from a real one. */
export interface Mistake {
  near?: (settings: NearSettings) => NearSettings
  createMemory?: NearParts['createMemory']
  consistency?: (settings: CacheConsistencySettings, near: Near) => CacheConsistencySettings
  /** What a logout does before its commit. `write`: what it would do after it. */
  beforeCommit?: (write: () => Promise<unknown>) => Promise<unknown>
}

export interface ServerSettings {
  /** What the server does wrong. Called once for each server, so that its parts can share a state. */
  mistake?: (name: string) => Mistake
  /** `null`: it is no member. */
  leaseMs: number | null
  /** Whether an answer of Redis counts only under the lease. */
  leaseRedis: boolean
  hasRedis: boolean
}

/** A server of the plugin, composed as in lib/cache/index.ts. */
export interface Server extends Connected, RecordLookup {
  near: Near
  beforeCommit: NonNullable<Mistake['beforeCommit']>
  /** The writes of a call that ends or changes tokens, as the services make them. */
  write (kind: 'end' | 'drop', digests: readonly Digest[]): Promise<boolean>
  /** Its connection to Redis is replaced by one to this Redis. */
  move (place: number): void
  /** A renewal, as the timer calls it. */
  beat (): Promise<void>
  /** Connects to Redis. */
  connect (): Promise<void>
  /** Becomes a member. */
  start (): Promise<void>
  close (): Promise<void>
}

const TTL_MS = 3_600_000

export interface ServerParts {
  self: Connected
  stores: Stores
  network: Network
  clock: TestClock
  /** Waits of this schedule. */
  timing: Omit<Timing, 'createRepeated'>
}

export function openServer (settings: ServerSettings, { self, stores, network, clock, timing }: ServerParts): Server {
  const { leaseMs, leaseRedis, hasRedis, mistake } = settings
  const { near: changeNear = asItIs, createMemory = alone, consistency: changeConsistency = asItIs, beforeCommit = async () => {} }: Mistake = mistake?.(self.name) ?? {}
  const [now, doubts] = [clock.now, createDoubts()]
  const availability = createCacheAvailability({ monotonicNow: now, onError () {} })
  const databaseClock = createDatabaseClock({ now, monotonicNow: now })
  const listeners: ((isConnected: boolean) => void)[] = []
  // Each command goes to the Redis that the server is connected to at that moment.
  const at = () => stores.places[self.place]!
  const cache: TokenCache = {
    get: (digest, done) => at().get(digest, done),
    getOrLease: async (...args) => await at().getOrLease(...args),
    fill: async (...args) => await at().fill(...args),
    // An empty list is no command.
    async tombstone (digests, ttlMs) { if (digests.length > 0) await at().tombstone(digests, ttlMs) },
    async drop (digests) { if (digests.length > 0) await at().drop(digests) },
    holdsTombstone: async (digest) => await at().holdsTombstone(digest),
    onConnection (listener) { listeners.push(listener); listener(true) },
    close: async () => {}
  }
  let beat!: () => Promise<unknown>
  let beating: Promise<unknown> = Promise.resolve()
  const createRepeated: Timing['createRepeated'] = ({ work }) => {
    beat = work
    return { run: async () => { await (beating = work()) }, close () {} }
  }

  const near = openNear(changeNear({
    server: self.id,
    leaseMs,
    max: leaseMs === null ? null : 100,
    ttlMs: TTL_MS,
    channel: network.channelOf(self),
    seal: UNSEALED,
    members: stores.members,
    clock: databaseClock,
    now,
    monotonicNow: now,
    isTrusted: hasRedis ? availability.isTrusted : () => true,
    catchUp: hasRedis ? () => consistency.catchUp() : async () => {},
    onFailure () {}
  }), { createMemory, timing: { ...timing, createRepeated } })
  const reading = { find: stores.rows.find, clock: databaseClock, ttlMs: TTL_MS, jitter: () => 0 }
  const readDatabase = createDatabaseRead(reading)
  const consistencyOf = () => createCacheConsistency(changeConsistency({
    cache,
    cacheTtlMs: TTL_MS,
    availability,
    doubts,
    async * listStale () { yield await stores.rows.listStale() },
    assertPrimary: async () => {},
    heartbeat: NO_HEARTBEAT,
    withdraw: near.withdraw
  }, near))
  let consistency: CacheConsistency = consistencyOf()
  const local = hasRedis ? null : createLocalWrites({ near, doubts, onFailure () {} })
  const writes = () => local ?? consistency
  doubts.onBegin(near.clear)
  if (hasRedis) availability.onDistrust(near.clear)
  const lookup = hasRedis
    ? createReadThrough({ ...reading, cache, availability, doubts, seal: UNSEALED, mayRead: () => !leaseRedis || near.isLeased(), leaseOwner: self.id })
    : { lookup: createSharedRead(readDatabase), lookupFresh: readDatabase }

  return Object.assign(self, near.inFrontOf(lookup), {
    near,
    beforeCommit,
    async write (kind: 'end' | 'drop', digests: readonly Digest[]) {
      const { writeTombstones, dropEntries } = writes()
      const forget = () => near[kind](digests)
      forget()
      const isDone = await (kind === 'end' ? writeTombstones : dropEntries)(digests).finally(forget)
      // Its repetitions would run by a real timer: the caller repeats the call instead.
      if (!isDone) await restart()
      return isDone
    },
    move (place: number) {
      self.place = place
      near.renew()
      for (const isConnected of [false, true]) for (const listener of listeners) listener(isConnected)
    },
    beat: async () => { await beat().catch(() => {}) },
    async connect () {
      if (!hasRedis) return
      consistency.start()
      await consistency.ready
    },
    async start () {
      near.start()
      await beating.catch(() => {})
    },
    async close () {
      await Promise.all([consistency.close(), local?.close(), near.close()])
    }
  })

  async function restart (): Promise<void> {
    await writes().close()
    consistency = consistencyOf()
  }
}

const asItIs = <Part>(part: Part): Part => part

/** Not shared with the other servers of this process. */
const alone: NearParts['createMemory'] = (settings) => ({ ...createNearCache(settings), leave () {} })

/** A request with the token. */
export async function request (server: RecordLookup, digest: Digest): Promise<TokenRecord | null> {
  const known = server.peek(digest)
  if (known !== undefined) return known
  return await new Promise((resolve, reject) => server.lookup(digest, (error, found) => error === null ? resolve(found) : reject(error)))
}
