import { randomBytes } from 'node:crypto'
import { createUserService } from '../../../lib/services/users.js'
import { NO_ACCOUNT_LIMIT } from '../../../lib/services/account-limit.js'
import { createPropagate } from '../../../lib/services/revocation.js'
import { createTokenFactory } from '../../../lib/services/tokens.js'
import { createLastUsed } from '../../../lib/services/last-used.js'
import { createLoginService } from '../../../lib/services/login.js'
import { createPasswordService } from '../../../lib/services/passwords.js'
import { createSessionService } from '../../../lib/services/sessions.js'
import type { SessionService } from '../../../lib/services/sessions.js'
import { NO_HEARTBEAT } from '../../helpers/no-heartbeat.js'
import { createReadThrough } from '../../../lib/cache/read-through.js'
import type { TokenLookup } from '../../../lib/cache/lookup.js'
import { createDatabaseClock } from '../../../lib/tools/database-clock.js'
import { createDoubts } from '../../../lib/cache/doubts.js'
import { UNSEALED } from '../../../lib/crypto/seal.js'
import { staleWindowMs } from '../../../lib/tools/stale-window.js'
import { createCacheConsistency } from '../../../lib/cache/consistency.js'
import type { CacheConsistency } from '../../../lib/cache/consistency.js'
import { createTokenFormat, digestOf } from '../../../lib/crypto/token.js'
import type { Digest } from '../../../lib/index.js'
import type { CachedRecord } from '../../../lib/cache/entry.js'
import type { TokenStore } from '../../../lib/ports.js'
import type { Wrap } from '../../../lib/testing/index.js'
import { CACHE_TTL_MS, wrapPorts } from './bench.js'
import type { Ports, ProtocolBench, State } from './bench.js'

/** Two servers that share only the ports. */
export interface World {
  state: State
  ports: Ports
  bench: ProtocolBench
  a: TokenLookup
  b: TokenLookup
  /** Digests of the tokens that logins with the old password returned. */
  granted: Digest[]
}

/** How a broken variant differs: in the ports, whose calls are steps already, or in the store that reads through them. */
export interface Breakage {
  steps?: (ports: Ports, wrap: Wrap, bench: ProtocolBench) => Ports
  store?: (store: TokenLookup) => TokenLookup
}

const asItIs = <Part>(part: Part): Part => part

export async function createWorld (bench: ProtocolBench, wrap: Wrap, broken: Breakage = {}): Promise<World> {
  const { steps = asItIs, store = asItIs } = broken
  const ports = steps(wrapPorts(wrap, bench.ports), wrap, bench)
  const [doubts, clock] = [createDoubts(), createDatabaseClock({ now: Date.now, monotonicNow: () => performance.now() })]
  const server = (leaseOwner: string, find: TokenStore['find']) => store(createReadThrough({
    cache: ports.cache, availability: bench.availability, doubts, seal: UNSEALED, find, ttlMs: CACHE_TTL_MS, clock, leaseOwner, jitter: () => 0
  }))
  const state = await bench.nextState()
  return { state, ports: { ...ports, ...ofOneSchedule(ports, state) }, bench, a: server('a', ports.reader.find), b: server('b', ports.findOnB), granted: [] }
}

// Schedules share the tables. A repeated deletion also returns tokens of other recently deleted users, and their
// tombstones would interfere with the schedules of those users.
function ofOneSchedule ({ sessions, revocations }: Ports, { digests }: State): Pick<Ports, 'sessions' | 'revocations'> {
  const own = new Set(digests)
  return {
    sessions: {
      ...sessions,
      login: async (userId, hash, token) => {
        own.add(token.digest)
        return await sessions.login(userId, hash, token)
      }
    },
    revocations: {
      ...revocations,
      deleteUser: async (userId) => {
        const revoked = await revocations.deleteUser(userId)
        return { ...revoked, digests: revoked.digests.filter((digest) => own.has(digest)) }
      }
    }
  }
}

export function read (server: TokenLookup, digest: Digest): Promise<CachedRecord | null> {
  return new Promise((resolve, reject) => server.lookup(digest, (error, found) => error === null ? resolve(found) : reject(error)))
}

/** A read that must not be accepted. */
export async function refuse (server: TokenLookup, digest: Digest): Promise<void> {
  if (await read(server, digest) !== null) throw new Error('a revoked token is accepted')
}

export type Services = ReturnType<typeof createServices>

/** The real services with a trivial password hash. The ports are a parameter, because a process that is going to crash has different ones. */
export function createServices ({ users, reader, sessions, revocations, cache }: Ports, { bench, a }: World) {
  const { writeTombstones, dropEntries } = followCache({ cache, bench, recent: async () => [] })
  const hash = async (password: string) => `hash of ${password}`
  const verify = async (password: string, stored: string | null) => stored === await hash(password)
  const parts = {
    users,
    tokens: reader,
    sessions,
    revocations,
    holdsTombstone: cache.holdsTombstone,
    writeTombstones,
    dropEntries,
    checker: {
      hash,
      verify: async (password: string, stored: string | null) => await verify(password, stored) ? 'right' as const : 'wrong' as const,
      needsUpgrade: () => false,
      reserve: () => () => {},
      prepare () {},
      isBusy: false,
      close: async () => {}
    },
    accountLimit: NO_ACCOUNT_LIMIT,
    rehasher: { offer () {}, close: async () => {} },
    policy: { check: async () => {} },
    tokenFactory: createTokenFactory({ format: createTokenFormat({ prefix: 'fta', randomBytes }), ttlMs: 60_000 }),
    propagate: createPropagate({ writeTombstones, revocations, revocation: 'strict', emit () {} }),
    emit () {},
    randomBytes,
    pseudonym: async () => '',
    canonicalize: (username: string) => username,
    lookupFresh: async (digest: Digest) => (await a.lookupFresh(digest))?.record ?? null,
    retentionMs: 0
  }
  const log = () => {}
  return {
    sessions: createSessionService(parts) as SessionService,
    passwords: createPasswordService(parts),
    users: createUserService(parts),
    logins: createLoginService(parts),
    lastUsed: createLastUsed({ touch: reader.touch, intervalMs: 60_000, now: Date.now, databaseNow: Date.now, logger: { info: log, warn: log, error: log } })
  }
}

/** What a server does at its start. Of the recent revocations it gets only those of this schedule. */
export async function restart ({ ports: { cache, revocations }, bench, state, granted }: World): Promise<void> {
  const own = new Set([...state.digests, ...granted])
  const recent = async () => (await revocations.findEnded({ userId: state.userId }, staleWindowMs(CACHE_TTL_MS))).filter((digest) => own.has(digest))
  const consistency = followCache({ cache, bench, recent })
  consistency.start()
  await consistency.ready
}

function followCache ({ cache, bench: { availability }, recent }: Pick<Ports, 'cache'> & { bench: ProtocolBench, recent: () => Promise<Digest[]> }): CacheConsistency {
  return createCacheConsistency({
    cache: { ...cache, onConnection: (listener) => listener(true) },
    // All schedules share the availability, so a distrust here would affect all of them. Their cache is never unavailable.
    availability: { ...availability, distrust () {} },
    async * listStale () { yield { revoked: await recent(), refreshed: [] } },
    assertPrimary: async () => {},
    heartbeat: NO_HEARTBEAT,
    cacheTtlMs: CACHE_TTL_MS,
    doubts: createDoubts(),
    withdraw: async () => {}
  })
}

export async function login ({ logins }: Services, { state: { username }, granted }: World): Promise<void> {
  const { token } = await logins.login({ username, password: 'old', origin: { ip: null, userAgent: null, requestId: null } })
  granted.push(digestOf(token))
}

/** A login with maxPerUser 1. */
export async function loginCrowded (world: World): Promise<void> {
  await login(createServices({ ...world.ports, sessions: world.ports.crowded }, world), world)
}
