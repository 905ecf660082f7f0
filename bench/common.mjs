// Functions that the benchmarks share.
import { randomBytes } from 'node:crypto'
import pg from 'pg'

export async function execute (connectionString, sql) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  await client.query(sql).finally(() => client.end())
}

/** Calls `work` with the URL of a new database, and drops the database afterwards. */
export async function withDatabase (work) {
  const name = `fta_bench_${randomBytes(6).toString('hex')}`
  const url = new URL(process.env.DATABASE_URL)
  await execute(url.href, `CREATE DATABASE ${name}`)
  url.pathname = `/${name}`
  await work(url.href).finally(() => execute(process.env.DATABASE_URL, `DROP DATABASE ${name} WITH (FORCE)`))
}

export function percentile (times, share) {
  const sorted = times.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}
