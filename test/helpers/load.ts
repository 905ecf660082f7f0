import type { FastifyInstance } from 'fastify'
import { caller } from './app.js'

const WORKERS = 8

export interface Load {
  /** How often live tokens got each status. */
  live: Record<number, number>
  /** How often tokens got each status in requests that began after their logout was answered 204. */
  dead: Record<number, number>
  logouts: Record<number, number>
  requests (): number
  /** Adds a token that is revoked already. */
  revoked (token: string): void
  stop (): Promise<void>
}

export interface LoadSettings {
  servers: FastifyInstance[]
  /** Tokens that stay live. */
  live: string[]
  /** Issues tokens that are logged out one after another, each until the answer is 204. */
  issue?: () => Promise<string>
}

/** Uses tokens on all servers, and logs others out, until it is stopped. */
export function startLoad ({ servers, live, issue }: LoadSettings): Load {
  const calls = servers.map(caller)
  const counts = { live: {} as Record<number, number>, dead: {} as Record<number, number>, logouts: {} as Record<number, number> }
  const dead: string[] = []
  const state = { isRunning: true }
  let turn = 0

  const pick = <Item>(items: Item[]) => items[turn++ % items.length]!

  async function count (statuses: Record<number, number>, method: 'GET' | 'POST', url: string, token: string): Promise<number> {
    const { statusCode } = await pick(calls)(method, url, { token })
    statuses[statusCode] = (statuses[statusCode] ?? 0) + 1
    // Gives the servers' connections a turn, because injected requests don't wait for I/O.
    await new Promise((resolve) => setImmediate(resolve))
    return statusCode
  }

  async function use (): Promise<void> {
    while (state.isRunning) {
      await count(counts.live, 'GET', '/protected', pick(live))
      if (dead.length > 0) await count(counts.dead, 'GET', '/protected', pick(dead))
    }
  }

  async function end (issue: () => Promise<string>): Promise<void> {
    while (state.isRunning) {
      const token = await issue()
      while (state.isRunning && await count(counts.logouts, 'POST', '/auth/logout', token) !== 204);
      // If the load was stopped before the 204, the token does not count as revoked.
      if (state.isRunning) dead.push(token)
    }
  }

  const work = Promise.all([...issue === undefined ? [] : [end(issue)], ...Array.from({ length: WORKERS }, use)])
  return {
    ...counts,
    requests: () => Object.values(counts).flatMap((statuses) => Object.values(statuses)).reduce((sum, some) => sum + some, 0),
    revoked (token) { dead.push(token) },
    async stop () {
      state.isRunning = false
      await work
    }
  }
}
