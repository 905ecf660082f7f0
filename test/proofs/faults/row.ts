import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { withDeadline } from '../../../lib/tools/deadline.js'
import { createCast, login, logout, LOOKUP_MS, me, read } from './world.js'
import type { Cast, World } from './world.js'
import { until } from '../../helpers/until.js'

/** The requests to a server during a fault. */
const ASKS = {
  cached: (server: FastifyInstance, { cached }: Cast) => read(server, cached),
  uncached: (server: FastifyInstance, { uncached }: Cast) => read(server, uncached),
  // It must not share a lookup that began before, and waits for it.
  joining: (server: FastifyInstance, { uncached }: Cast) => read(server, uncached),
  login: (server: FastifyInstance, { username }: Cast) => login(server, username),
  logout: (server: FastifyInstance, { leaving }: Cast) => logout(server, leaving),
  revoked: (server: FastifyInstance, { revoked }: Cast) => me(server, revoked)
}

type Ask = keyof typeof ASKS

/** One fault. */
export interface Row {
  name: string
  /** Runs while all tokens of the cast are live and cached. */
  prepare?: (world: World) => Promise<unknown>
  /** Starts the fault; may return a server that gets the requests instead of the world's. */
  inject: (world: World, cast: Cast, t: Test) => Promise<FastifyInstance | void>
  /** PostgreSQL never answers, so that a request is answered when the server's own time limit expires. */
  isSilent?: boolean
  /** Ends the fault. Servers are neither restarted nor notified. */
  heal: (world: World) => unknown
  /** The expected answers; several if the answer depends on the moment. */
  answers: Record<Exclude<Ask, 'joining'>, string | readonly string[]>
}

/** The defaults of `cache.timeout` and of the `commandTimeout` of Redis. */
const READ_MS = 100
const COMMAND_MS = 500

// A read of a token waits for Redis, and then for a whole lookup; a login waits for the counts of its address and its account,
// and for clearing the latter. PostgreSQL fails once, and ends the request.
const LOOK_UP_MS = READ_MS + LOOKUP_MS
const DEADLINES: Record<Ask, number> = {
  cached: LOOK_UP_MS,
  uncached: LOOK_UP_MS,
  joining: LOOK_UP_MS,
  login: 3 * COMMAND_MS + LOOKUP_MS,
  logout: COMMAND_MS + LOOKUP_MS,
  revoked: LOOK_UP_MS
}

/** The allowed delay of a busy machine: generous if nothing hangs, and otherwise less than a second wait would take. */
const SLACK_MS = 30_000
const SILENT_SLACK_MS = LOOKUP_MS - 100

const LIVE = /^(200|503 (UNAVAILABLE|OVERLOADED))$/
const ENDED = /^(401 INVALID_TOKEN|503 (UNAVAILABLE|OVERLOADED))$/

async function askAll (t: Test, server: FastifyInstance, cast: Cast, { answers, isSilent = false }: Row): Promise<Record<Ask, string>> {
  const slackMs = isSilent ? SILENT_SLACK_MS : SLACK_MS
  const allowed = { ...answers, joining: answers.uncached }
  const outcomes = await Promise.all((Object.keys(ASKS) as Ask[]).map(async (ask): Promise<[Ask, string]> => {
    const late = { timeoutMs: DEADLINES[ask] + slackMs, expired: () => new Error(`no answer within ${DEADLINES[ask]} ms`) }
    return [ask, await withDeadline(ASKS[ask](server, cast), late).catch((error) => error.message)]
  }))
  for (const [ask, outcome] of outcomes) {
    t.ok([allowed[ask]].flat().includes(outcome), `${ask}: ${String(allowed[ask])} within ${DEADLINES[ask]} ms`, { outcome })
  }
  return Object.fromEntries(outcomes) as Record<Ask, string>
}

/** Checks what must hold during any fault: a live token is never refused, and a revoked one never accepted. */
export async function complaintsOf (server: FastifyInstance, { cached, uncached, revoked }: Cast): Promise<string[]> {
  const [live, unread, ended] = await Promise.all([read(server, cached), read(server, uncached), me(server, revoked)])
  return [
    ...[live, unread].filter((outcome) => !LIVE.test(outcome)).map((outcome) => `a live token: ${outcome}`),
    ...ENDED.test(ended) ? [] : [`a revoked token: ${ended}`]
  ]
}

async function isWell (server: FastifyInstance, { cached, uncached, username }: Cast): Promise<boolean> {
  const { database, cache } = await server.tokenAuth.health()
  const outcomes = [await read(server, cached), await read(server, uncached), await login(server, username)]
  return database === 'up' && cache === 'up' && outcomes.every((outcome) => outcome === '200')
}

async function recover (t: Test, servers: FastifyInstance[], cast: Cast): Promise<void> {
  const complaints: string[] = []
  await Promise.all(servers.map((server) => until(async () => {
    complaints.push(...await complaintsOf(server, cast))
    return await isWell(server, cast)
  }, 'the server has recovered by itself')))
  t.same(complaints, [], 'during recovery no live token is refused, and no revoked one accepted')
}

/** Injects a fault, makes every request, ends the fault, and waits for the recovery. */
export async function runRow (t: Test, world: World, row: Row): Promise<void> {
  const { prepare = async () => {}, inject, heal } = row
  const cast = await createCast(world, prepare)
  const server = await inject(world, cast, t) ?? world.asked
  const servers = [...new Set([server, world.asked, world.other])]
  const everywhere = async (token: string) => await Promise.all(servers.map((server) => me(server, token)))
  const ended = servers.map(() => '401 INVALID_TOKEN')
  try {
    const outcomes = await askAll(t, server, cast, row)
    t.same((await Promise.all(servers.map((server) => complaintsOf(server, cast)))).flat(), [], 'no live token is refused, and no revoked one accepted')
    if (outcomes.logout === '204') t.same(await everywhere(cast.leaving), ended, 'a logout that was answered 204 applies everywhere')
  } finally {
    await heal(world)
  }
  await recover(t, servers, cast)
  t.equal(await logout(server, cast.leaving), '204', 'the logout may be repeated')
  t.same(await everywhere(cast.leaving), ended)
  t.same(await everywhere(cast.revoked), ended)
}
