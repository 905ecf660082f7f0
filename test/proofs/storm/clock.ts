import pg from 'pg'
import type { PostgresServer } from '../../helpers/postgres-server.js'

/** How far the clock of PostgreSQL is ahead of `performance.now()`, in milliseconds. */
export interface ClockOffset { leastMs: number, mostMs: number }

const SAMPLES = 20

/** The current bounds of the offset: each reading of the clock was between its query and its answer. */
export async function measureClock ({ url }: PostgresServer): Promise<ClockOffset> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const offset = { leastMs: -Infinity, mostMs: Infinity }
  for (let sample = 0; sample < SAMPLES; sample++) {
    const askedAt = performance.now()
    const { rows: [{ at }] } = await client.query('select extract(epoch from clock_timestamp())::float8 * 1000 as at')
    offset.leastMs = Math.max(offset.leastMs, at - performance.now())
    offset.mostMs = Math.min(offset.mostMs, at - askedAt)
  }
  await client.end()
  return offset
}

/** Bounds that include both offsets and all in between. */
export function joinOffsets (one: ClockOffset, other: ClockOffset): ClockOffset {
  return { leastMs: Math.min(one.leastMs, other.leastMs), mostMs: Math.max(one.mostMs, other.mostMs) }
}
