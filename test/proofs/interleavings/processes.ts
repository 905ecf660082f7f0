import { createServices, login, read, refuse } from './world.js'
import type { World } from './world.js'
import type { Process, Step } from '../../../lib/testing/index.js'
import { dyingLogout } from './revokers.js'
import type { Revoker } from './revokers.js'

/** Processes that run concurrently with a revocation. */
export const ACTORS = {
  'reader A': async ({ a, state }) => { await read(a, state.digest) },
  'second reader A': async ({ a, state }) => { await read(a, state.digest) },
  'reader B': async ({ b, state }) => { await read(b, state.digest) },
  'last use': async (world) => {
    const { lastUsed } = createServices(world.ports, world)
    lastUsed.note({ sessionId: world.state.sessionId, idleAtMs: null } as Parameters<typeof lastUsed.note>[0])
    await lastUsed.flush()
  },
  refresh: async (world) => { await createServices(world.ports, world).users.refreshUser(world.state.userId) },
  login: async (world) => await login(createServices(world.ports, world), world).catch(allowRefusal),
  'dying logout': async (world) => await dyingLogout(world),
  eviction: async ({ ports, state }) => await ports.cache.drop([state.digest]),
  flush: async ({ ports, state }) => await ports.cache.drop(state.digests)
} satisfies Record<string, Process<World>>

export type ActorName = keyof typeof ACTORS

/** A request that starts when the revocation has returned, at any time after. */
export const lateReader: Process<World> = async ({ a, state, ports }) => {
  await ports.request.begin()
  await refuse(a, state.digest)
}

function allowRefusal (error: { code?: string }): void {
  if (error.code !== 'FST_TOKEN_AUTH_INVALID_CREDENTIALS') throw error
}

/** Checks that no server accepts the revoked token after all processes have ended, and that the allowed tokens of overlapping logins are live. */
export async function checkEnd ({ logins }: Revoker, world: World): Promise<void> {
  await refuse(world.a, world.state.digest)
  await refuse(world.b, world.state.digest)
  const live = await countGranted(world)
  if (logins === 'none' && live > 0) throw new Error('the token of a login with the old password is accepted')
  if (logins === 'all' && live < world.granted.length) throw new Error('the token of a login is refused')
}

/** How many of the tokens that logins returned are accepted. */
export async function countGranted ({ b, granted }: World): Promise<number> {
  const records = await Promise.all(granted.map((digest) => read(b, digest)))
  return records.filter((record) => record !== null).length
}

const SERVERS: Record<string, string> = { 'reader A': 'a', 'second reader A': 'a', 'late reader': 'a', 'reader B': 'b' }
const READS = new Set(['get', 'holdsTombstone', 'find', 'liveDigests', 'findEnded', 'findCredentials', 'findCredentialsById'])

/**
 * Two steps may be swapped if neither sees the effect of the other. Processes share three things: the cache, the database, and, with
 * readers of the same server, the lookup that they start, join or end. So steps in the cache and in the database are independent, and two
 * steps that only read one of them. A reply affects only its own server.
 */
export function independent (one: Step, other: Step): boolean {
  const server = SERVERS[one.process]
  if (server !== undefined && server === SERVERS[other.process] && touchesRun(one) && touchesRun(other)) return false
  if (one.isReply || other.isReply || one.port !== other.port) return true
  return READS.has(one.call) && READS.has(other.call)
}

// A request or its first read of the cache starts or joins a lookup; an answer of the cache or the database's reply ends it.
function touchesRun ({ call, isReply }: Step): boolean {
  return isReply || call === 'begin' || call === 'get' || call === 'getOrLease'
}
