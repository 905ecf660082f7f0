import type { Client, Pool } from 'pg'
import { codeOf } from './errors.js'

interface Watched {
  /** The transaction status reported by PostgreSQL: `I` is none. */
  status: string
  /** How often it was idle without a transaction; the first time is before its first use. */
  rests: number
  isLeaving: boolean
}

const READ_ONLY = '25006'
/** How long a connection that was read-only from the start means that the server is read-only, so that other connections are not tried. */
const READ_ONLY_MS = 1000

const UNWATCHED: Watched = { status: 'I', rests: 0, isLeaving: false }
const watched = new WeakMap<Client, Watched>()
const readOnlyUntil = new WeakMap<object, number>()
const givenUp = new WeakSet<object>()

/** Whether the connection was dropped because of this error. The statement had no effect, and may succeed on another connection. */
export function isGivenUp (error: unknown): boolean {
  return typeof error === 'object' && error !== null && givenUp.has(error)
}

/** Marks an error of a connection that had no effect, so that the statement is tried on another one. */
export function giveUp (error: object): void {
  givenUp.add(error)
}

/**
 * Ends a client whose session has become read-only, as after a failover: a pool drops clients that have ended. `pool` identifies
 * clients of the same pool.
 */
export function watchClient (client: Client, { pool, rests }: { pool: object, rests: number }): void {
  const { connection } = client as Partial<Client>
  // Clients of pg-native have none.
  if (connection === undefined || watched.has(client)) return
  const state: Watched = { status: 'I', rests, isLeaving: false }
  watched.set(client, state)
  connection.on('errorMessage', (error: object) => {
    if (codeOf(error) !== READ_ONLY || !mayBetterBeFound(state, pool)) return
    state.isLeaving = true
    giveUp(error)
  })
  connection.on('readyForQuery', ({ status }: { status: string }) => {
    state.status = status
    if (status === 'I') state.rests++
    // After pg has handled the error, and before the caller of the statement continues.
    if (isUseless(client)) process.nextTick(() => client.end())
  })
}

/** Whether the client is dropped, with no transaction left to roll back. */
export function isUseless (client: Client): boolean {
  const { isLeaving, status } = stateOf(client)
  return isLeaving && status === 'I'
}

function stateOf (client: Client): Watched {
  return watched.get(client) ?? UNWATCHED
}

function mayBetterBeFound ({ rests }: Watched, pool: object): boolean {
  const now = performance.now()
  if (rests > 1) return now >= (readOnlyUntil.get(pool) ?? 0)
  readOnlyUntil.set(pool, now + READ_ONLY_MS)
  return false
}

/** Listeners on a pool that watch its clients, of whatever class. */
export const POOL_LISTENERS = {
  connect (this: Pool, client: Client) { watchClient(client, { pool: this.options, rests: 1 }) },
  acquire (this: Pool, client: Client) { watchClient(client, { pool: this.options, rests: 2 }) },
  // A transaction was left open: later statements on this connection would be answered, and never committed.
  release (_error: unknown, client: Client) {
    const { isLeaving, status } = stateOf(client)
    if (isLeaving || status !== 'I') client.end()
  }
}
