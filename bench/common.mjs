// Functions that the benchmarks share.
import { hash, randomBytes } from 'node:crypto'
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { createTokenFormat } from '../dist/lib/crypto/token.js'

export async function execute (connectionString, sql, values) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return await client.query(sql, values).finally(() => client.end())
}

/** Calls `work` with the URL of a new database, and drops the database afterwards. */
export async function withDatabase (work) {
  const name = `fta_bench_${randomBytes(6).toString('hex')}`
  const url = new URL(process.env.DATABASE_URL)
  await execute(url.href, `CREATE DATABASE ${name}`)
  url.pathname = `/${name}`
  await work(url.href).finally(() => execute(process.env.DATABASE_URL, `DROP DATABASE ${name} WITH (FORCE)`))
}

/** Deletes the keys that match a pattern. */
export async function forgetKeys (redis, match) {
  for await (const keys of redis.scanStream({ match, count: 10_000 })) if (keys.length > 0) await redis.unlink(keys)
}

export function percentile (times, share) {
  const sorted = times.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

export function median (values) {
  const sorted = values.toSorted((one, other) => one - other)
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.floor(sorted.length / 2)]) / 2
}

const CHUNK = 10_000

/** New tokens of a user that exists. Their rows are written as the plugin writes them, many in a statement. */
export async function issueTokens (connectionString, { count, username }) {
  const format = createTokenFormat({ prefix: 'fta', randomBytes })
  const tokens = Array.from({ length: count }, () => format.create())
  for (let start = 0; start < count; start += CHUNK) {
    const digests = tokens.slice(start, start + CHUNK).map((token) => hash('sha256', token, 'buffer'))
    await execute(connectionString, `insert into auth_tokens (digest, user_id, expires_at)
      select digest, (select id from users where username = $2), now() + interval '1 day' from unnest($1::bytea[]) digest`, [digests, username])
  }
  return tokens
}

/** Replaces what is between the two comments of this name in a file of docs/. */
export function replaceInDocs (file, name, text) {
  const path = new URL(`../docs/${file}`, import.meta.url)
  const [before, rest] = readFileSync(path, 'utf8').split(`<!-- ${name} -->\n`)
  const after = rest?.split(`<!-- /${name} -->\n`)[1]
  if (after === undefined) throw new Error(`docs/${file} has no place for the figures of "${name}"`)
  writeFileSync(path, `${before}<!-- ${name} -->\n${text}\n<!-- /${name} -->\n${after}`)
}

/** What `read` makes of options with values. What is wrong with them is printed above the usage, and ends the process. */
export function readArguments ({ args, names, usage }, read) {
  try {
    const options = Object.fromEntries(names.map((name) => [name, { type: 'string' }]))
    return read(parseArgs({ args, options }).values)
  } catch (error) {
    console.error(`bench: ${error.message}\n\n${usage}`)
    process.exit(2)
  }
}

// A folder that does not exist is told at once, and not after minutes.
export function readFile (file) {
  if (file === '') throw new Error('--json must be a file, got ""')
  if (file !== undefined) accessSync(dirname(file), constants.W_OK)
  return file
}
