import type { Client, Pool } from 'pg'
import { codeOf } from './errors.js'

interface Watched {
  /** Of the transaction, as PostgreSQL tells it: `I` is none. */
  status: string
  /** How often it was without a transaction; the first time is before its first use. */
  rests: number
  isLeaving: boolean
}

const READ_ONLY = '25006'
/** How long a connection that was read-only from the beginning speaks for the others: the server is, and another connection is no better. */
const READ_ONLY_MS = 1000

const UNWATCHED: Watched = { status: 'I', rests: 0, isLeaving: false }
const watched = new WeakMap<Client, Watched>()
const readOnlyUntil = new WeakMap<object, number>()
const givenUp = new WeakSet<object>()

/** Whether the connection that the error is of was given up for it. The statement did nothing, and may do better on another. */
export function isGivenUp (error: unknown): boolean {
  return typeof error === 'object' && error !== null && givenUp.has(error)
}

/**
 * Ends a client whose session has become read-only, as a failover leaves it: a pool keeps no client that has ended. `pool` is what its
 * clients have in common.
 */
export function watchClient (client: Client, { pool, rests }: { pool: object, rests: number }): void {
  const { connection } = client as Partial<Client>
  // pg-native's clients have none.
  if (connection === undefined || watched.has(client)) return
  const state: Watched = { status: 'I', rests, isLeaving: false }
  watched.set(client, state)
  connection.on('errorMessage', (error: object) => {
    if (codeOf(error) !== READ_ONLY || !mayBetterBeFound(state, pool)) return
    state.isLeaving = true
    givenUp.add(error)
  })
  connection.on('readyForQuery', ({ status }: { status: string }) => {
    state.status = status
    if (status === 'I') state.rests++
    // When pg has dealt with it, and before whoever waits for the statement goes on.
    if (isUseless(client)) process.nextTick(() => client.end())
  })
}

/** Whether it is given up, and there is no transaction to roll back. */
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

/** The listeners of a pool by which its clients are watched, whatever their class. */
export const POOL_LISTENERS = {
  connect (this: Pool, client: Client) { watchClient(client, { pool: this.options, rests: 1 }) },
  acquire (this: Pool, client: Client) { watchClient(client, { pool: this.options, rests: 2 }) },
  // Whoever left a transaction open: what comes next on this connection would be answered, and never be committed.
  release (_error: unknown, client: Client) {
    const { isLeaving, status } = stateOf(client)
    if (isLeaving || status !== 'I') client.end()
  }
}
