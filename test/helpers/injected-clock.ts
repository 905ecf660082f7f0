import pg from 'pg'
import type { Test } from 'tap'
import { createDatabase } from './services.js'

export interface InjectedClock {
  /** A database that uses this clock. */
  url: string
  now (): number
  /** The time this many seconds after its start. */
  instant (seconds: number): number
  /** Sets the clock to this many seconds after its start, for PostgreSQL too. */
  setTo (seconds: number): Promise<void>
}

const START_MS = Date.UTC(2030, 0, 1)

/**
 * One clock for a process and its database, which stands still until a test sets it. PostgreSQL finds functions of the `search_path`
 * before its own, so `now()` and `clock_timestamp()` are those of the test.
 */
export async function createInjectedClock (t: Test): Promise<InjectedClock> {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  await client.query(`create schema clock; create table clock.hand (at timestamptz);
    insert into clock.hand values (to_timestamp(${START_MS / 1000}));
    create function clock.now() returns timestamptz language sql stable as 'select at from clock.hand';
    create function clock.clock_timestamp() returns timestamptz language sql volatile as 'select at from clock.hand';
    alter database ${pg.escapeIdentifier(client.database!)} set search_path = clock, pg_catalog, public`)
  const instant = (seconds: number) => START_MS + seconds * 1000
  let at = START_MS
  return {
    url,
    now: () => at,
    instant,
    async setTo (seconds) {
      await client.query('update clock.hand set at = to_timestamp($1)', [instant(seconds) / 1000])
      at = instant(seconds)
    }
  }
}
