import pg from 'pg'
import type { Test } from 'tap'
import { until } from './until.js'

/** Another connection to a database, whose locks decide in which order the tested calls proceed. */
export interface Holder {
  /** Begins a transaction with these statements. */
  hold (...statements: string[]): Promise<void>
  letGo (): Promise<void>
  query: pg.Client['query']
  /** Resolves when this many statements of other connections wait for locks. */
  untilWaiting (count: number): Promise<void>
}

export async function createHolder (t: Test, connectionString: string): Promise<Holder> {
  const [holder, watch] = [new pg.Client({ connectionString }), new pg.Client({ connectionString })]
  for (const client of [holder, watch]) {
    client.on('error', () => {})
    await client.connect()
    t.teardown(() => client.end())
  }
  return {
    async hold (...statements) {
      await holder.query('begin')
      for (const statement of statements) await holder.query(statement)
    },
    letGo: async () => { await holder.query('commit') },
    query: watch.query.bind(watch) as pg.Client['query'],
    untilWaiting: (count) => until(async () => {
      const { rows } = await watch.query("select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
      return rows.length === count
    }, `${count} statements wait for locks`)
  }
}
