import { exploreInterleavings } from '../../../lib/testing/index.js'
import type { Exploration, InterleavingReport } from '../../../lib/testing/index.js'
import { CONCURRENCY } from './bench.js'
import type { Isolation, ProtocolBench } from './bench.js'
import { ACTORS, checkEnd, independent, lateReader } from './processes.js'
import type { ActorName } from './processes.js'
import { crashAndRevoke, revoke, REVOKERS } from './revokers.js'
import { createWorld } from './world.js'
import type { Breakage, World } from './world.js'

/** `short`: in `npm test`. `full`: in `npm run test:proofs`. `all`: takes about an hour and a half. */
const size = (process.env['INTERLEAVINGS'] ?? 'short') as 'short' | 'full' | 'all'
const runsAll = size === 'all'
const isShort = size === 'short'

export interface Race {
  actors: ActorName[]
  isCrashing?: boolean
}

export interface Variant extends Race {
  revoker: string
  broken?: Breakage
}

export async function explore (bench: ProtocolBench, { revoker: name, actors, isCrashing = false, broken = {} }: Variant, more: Partial<Exploration<World>> = {}): Promise<InterleavingReport> {
  const revoker = REVOKERS[name]!
  return await exploreInterleavings<World>({
    setup: (wrap) => createWorld(bench, wrap, broken),
    processes: {
      ...Object.fromEntries(actors.map((actor) => [actor, ACTORS[actor]])),
      [name]: (world) => isCrashing ? crashAndRevoke(revoker, world) : revoke(revoker, world),
      'late reader': { after: name, run: lateReader }
    },
    check: (world) => checkEnd(revoker, world),
    independent,
    concurrency: CONCURRENCY,
    maxSchedules: 20_000,
    ...more
  })
}

/**
 * Run against every way to revoke. A login that displaces a token does not report tokens that others have revoked. A crash comes after
 * the commit, because before the commit nothing has happened.
 */
const RACES: (Race & { except?: string })[] = [
  { actors: ['reader A', 'reader B'] },
  { actors: ['reader A', 'eviction'] },
  { actors: ['reader A', 'eviction'], isCrashing: true },
  { actors: ['reader A'], isCrashing: true },
  { actors: ['reader A', 'flush'] },
  { actors: ['reader A', 'last use'] },
  { actors: ['reader A', 'refresh'] },
  { actors: ['reader A', 'login'] },
  { actors: ['reader A', 'dying logout'], except: 'maxPerUser trim' }
]

/** The short form: a lookup against each way to revoke, alone, with a crash, and beside a logout that dies. */
const SHORT_RACES: (Race & { except?: string })[] = [
  { actors: ['reader A'] },
  { actors: ['reader A'], isCrashing: true },
  { actors: ['reader A', 'dying logout'], except: 'maxPerUser trim' }
]

/** More concurrent processes, against the revocations that differ most, or against all of them with `INTERLEAVINGS=all`, which takes some minutes. */
const LARGE_RACES: (Race & { revokers: string[] })[] = [
  { actors: ['reader A', 'second reader A'], revokers: ['logout'] },
  { actors: ['reader A', 'reader B'], isCrashing: true, revokers: ['logout'] },
  { actors: ['reader A', 'reader B', 'eviction'], revokers: ['logout'] },
  { actors: ['reader A', 'last use', 'eviction'], revokers: ['logout'] },
  { actors: ['reader A', 'refresh', 'flush'], revokers: [] },
  { actors: ['reader A', 'refresh'], isCrashing: true, revokers: ['logout'] },
  { actors: ['reader A', 'login', 'flush'], revokers: ['logout', 'change-password'] },
  { actors: ['reader A', 'login'], isCrashing: true, revokers: ['logout', 'change-password'] },
  { actors: ['reader A', 'second reader A', 'eviction'], revokers: [] }
]

/** Races for the other default isolation levels; with `INTERLEAVINGS=all` all of the above are run instead. */
const ISOLATED_RACES: Race[] = [
  { actors: ['reader A'] },
  { actors: ['login'] },
  { actors: ['login', 'last use'] },
  { actors: ['reader A'], isCrashing: true }
]

/** With one process there is one server, and the cache does not survive a crash. */
const IN_PROCESS_RACES: (Race & { revokers?: string[] })[] = [
  { actors: ['reader A', 'eviction'] },
  { actors: ['reader A', 'refresh'] },
  { actors: ['reader A', 'login'] },
  { actors: ['reader A', 'second reader A'], revokers: ['logout'] }
]

/** The races that are run against this way to revoke. */
export function racesOf (revoker: string, isolation: Isolation): Race[] {
  if (isShort) return SHORT_RACES.filter(({ except }) => except !== revoker)
  if (isolation !== 'read committed' && !runsAll) return ISOLATED_RACES
  const races = RACES.filter(({ except }) => except !== revoker)
  return [...races, ...LARGE_RACES.filter(({ revokers }) => runsAll || revokers.includes(revoker))]
}

export function inProcessRacesOf (revoker: string): Race[] {
  if (isShort) return []
  return IN_PROCESS_RACES.filter(({ revokers }) => runsAll || revokers === undefined || revokers.includes(revoker))
}

/** Races that brute force runs too. */
export const COUNTED_RACES: Race[] = isShort ? [] : [{ actors: ['reader A', 'last use'] }, { actors: ['reader A', 'eviction'], isCrashing: true }]

/** The minimum number of schedules of a run. */
export const LEAST_SCHEDULES = isShort ? 300 : 5000

/** All processes at once. There are too many orders of so many steps, so a sample is run against every way to revoke. */
export const EVERYONE: ActorName[] = ['reader A', 'second reader A', 'reader B', 'last use', 'refresh', 'login', 'eviction', 'flush']
export const SAMPLED_RACES: Race[] = [{ actors: EVERYONE }, { actors: EVERYONE, isCrashing: true }]
export const SAMPLE = { schedules: isShort ? 2 : 100, seed: 1 }

/** The mistakes that a sample of this size must catch, in fills and in logins. */
export const CONTROL_SAMPLE = { schedules: 100, seed: 1 }
export const SAMPLED_CONTROLS = ['DEL instead of tombstone', 'fill without lease', 'plain INSERT on login']

/** Whether the form catches this mistake on purpose: the short one tries one of a reader, one of a fill and one of a revocation. */
export function isTried (control: string): boolean {
  return !isShort || SAMPLED_CONTROLS.includes(control)
}

/** The default isolation levels beside `read committed`. */
export const OTHER_ISOLATIONS: Isolation[] = isShort ? [] : ['repeatable read', 'serializable']
