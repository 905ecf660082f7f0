import type { Processes } from '../../../lib/testing/index.js'
import type { NearRace } from './near-races.js'
import { cutOn, emptyOn, evict, logoutOn, LONG_LEASE_MS, moveOn, readOn, refreshOn, refuseOn, renewOn, seeRenamedOn, startOn } from './near-world.js'
import type { World } from './near-world.js'

/** A logout on `a`, and a later request on `b`. */
const LOGOUT: Processes<World> = { 'logout on a': logoutOn('a'), 'late reader b': { after: 'logout on a', run: refuseOn('b') } }
const REFRESH: Processes<World> = { 'refresh on a': refreshOn('a'), 'late reader b': { after: 'refresh on a', run: seeRenamedOn('b') } }

/** `b` has the token in its memory. */
const ENTRY: NearRace = { servers: { a: {}, b: { isFilled: true } }, processes: LOGOUT }
/** `b` does not know the token. */
const READ: NearRace = { servers: { a: {}, b: {} }, processes: { ...LOGOUT, 'reader b': readOn('b') } }
/** `b` becomes a member. The token is in Redis. */
const JOIN: NearRace = { servers: { a: { isFilled: true }, b: { isStarted: false } }, processes: { ...LOGOUT, 'start b': startOn('b') } }
const JOIN_AND_READ: NearRace = { ...JOIN, processes: { ...JOIN.processes, 'reader b': readOn('b') } }
/** `b` is connected to another Redis, with the token in it. */
const SPLIT: NearRace = { servers: { a: {}, b: { isFilled: true, place: 1 } }, processes: LOGOUT, leaseRedis: true }

const withProcesses = (race: NearRace, processes: Processes<World>, more: Partial<NearRace> = {}): NearRace => ({ ...race, ...more, processes: { ...race.processes, ...processes } })

/** Races of few steps. */
export const SMALL = {
  'an entry': ENTRY,
  'an entry under a longer lease': { ...ENTRY, leaseMs: LONG_LEASE_MS },
  'an entry, and a revoker without a memory': { ...ENTRY, servers: { ...ENTRY.servers, a: { isMember: false } } },
  'an entry, and a renewal': withProcesses(ENTRY, { 'renewal b': renewOn('b', 1) }),
  'an entry, and a renewal of a longer lease': withProcesses(ENTRY, { 'renewal b': renewOn('b', 1) }, { leaseMs: LONG_LEASE_MS }),
  'an entry, and a renewal without messages': withProcesses(ENTRY, { 'renewal b': renewOn('b', 1) }, { deaf: ['b'] }),
  'an entry, and a renewal of a longer lease without messages': withProcesses(ENTRY, { 'renewal b': renewOn('b', 1) }, { deaf: ['b'], leaseMs: LONG_LEASE_MS }),
  'an entry, and two renewals without messages': withProcesses(ENTRY, { 'renewal b': renewOn('b', 2) }, { deaf: ['b'] }),
  'an entry, and another read': withProcesses(ENTRY, { 'reader b': readOn('b') }),
  'a read': READ,
  'a server that joins': JOIN,
  'a server that joins, and a read': JOIN_AND_READ,
  'a subscription that breaks': withProcesses(ENTRY, { 'cut b': cutOn('b') }),
  'a subscription that breaks, and no messages': withProcesses(ENTRY, { 'cut b': cutOn('b') }, { deaf: ['b'] }),
  'a member that has crashed': { ...ENTRY, servers: { ...ENTRY.servers, c: { isFilled: true } }, deaf: ['c'] },
  'two revokers': {
    servers: { a: {}, b: { isFilled: true }, c: {} },
    deaf: ['b'],
    leaseMs: LONG_LEASE_MS,
    processes: { ...LOGOUT, 'logout on c': logoutOn('c', 1), 'other late reader b': { after: 'logout on c', run: refuseOn('b', 1) } }
  },
  'an eviction': withProcesses(READ, { eviction: evict }),
  'a Redis that restarts empty': withProcesses(ENTRY, { 'flush b': emptyOn('b') }),
  'a refresh, and an entry': { ...ENTRY, processes: REFRESH },
  'a refresh, and a read': { ...READ, processes: { ...REFRESH, 'reader b': readOn('b') } },
  'a Redis that is replaced': withProcesses(SPLIT, { 'failover a': moveOn('a', 1) }),
  'a split Redis': SPLIT,
  'a split Redis, and renewals': withProcesses(SPLIT, { 'renewal b': renewOn('b', 2) }, { deaf: ['b'] }),
  'without Redis, an entry': { ...ENTRY, hasRedis: false },
  'without Redis, an entry and a renewal': withProcesses(ENTRY, { 'renewal b': renewOn('b', 1) }, { hasRedis: false }),
  'without Redis, a read': { ...READ, hasRedis: false },
  'without Redis, a server that joins': { ...JOIN, hasRedis: false },
  'without Redis, a server that joins and a read': { ...JOIN_AND_READ, hasRedis: false },
  'without Redis, a subscription that breaks': withProcesses(ENTRY, { 'cut b': cutOn('b') }, { hasRedis: false }),
  'without Redis, a subscription that breaks and no messages': withProcesses(ENTRY, { 'cut b': cutOn('b') }, { hasRedis: false, deaf: ['b'] }),
  'without Redis, a refresh and a read': { ...READ, processes: { ...REFRESH, 'reader b': readOn('b') }, hasRedis: false }
} satisfies Record<string, NearRace>

export type RaceName = keyof typeof SMALL

/** Everything at once. */
const EVERYTHING: NearRace = {
  servers: { a: {}, b: { isFilled: true }, c: { isStarted: false } },
  hasEchoes: true,
  spareTicks: 2,
  processes: {
    'logout on a': logoutOn('a'),
    'logout on c': logoutOn('c', 1),
    'late reader b': { after: 'logout on a', run: refuseOn('b') },
    'late reader c': { after: 'logout on a', run: refuseOn('c') },
    'other late reader a': { after: 'logout on c', run: refuseOn('a', 1) },
    'other late reader b': { after: 'logout on c', run: refuseOn('b', 1) },
    'start c': startOn('c'),
    'reader a': readOn('a', 1),
    'reader b': readOn('b'),
    'reader c': readOn('c'),
    'renewal b': renewOn('b', 3),
    'renewal c': renewOn('c', 2),
    'cut b': cutOn('b')
  }
}

const REFRESH_OF_ALL: NearRace = {
  ...EVERYTHING,
  processes: {
    'refresh on a': refreshOn('a'),
    'late reader b': { after: 'refresh on a', run: seeRenamedOn('b') },
    'late reader c': { after: 'refresh on a', run: seeRenamedOn('c') },
    'start c': startOn('c'),
    'reader b': readOn('b'),
    'reader c': readOn('c'),
    'renewal b': renewOn('b', 3),
    'cut b': cutOn('b')
  }
}

/** Races of very many orders. */
export const LARGE: Record<string, NearRace> = {
  everything: withProcesses(EVERYTHING, { eviction: evict }),
  'everything, under a longer lease': { ...EVERYTHING, leaseMs: LONG_LEASE_MS },
  'everything, in a Redis that restarts empty': withProcesses(EVERYTHING, { 'flush b': emptyOn('b'), 'flush a': emptyOn('a') }),
  'everything, without Redis': { ...EVERYTHING, hasRedis: false },
  'everything, in a split Redis': withProcesses(EVERYTHING, { 'failover a': moveOn('a', 1), 'failover c': moveOn('c', 1) }, {
    leaseRedis: true,
    servers: { a: {}, b: { isFilled: true, place: 1 }, c: { isStarted: false } }
  }),
  'a refresh': withProcesses(REFRESH_OF_ALL, { eviction: evict }),
  'a refresh, without Redis': { ...REFRESH_OF_ALL, hasRedis: false }
}
