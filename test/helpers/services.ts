import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Test } from 'tap'

export interface TestDatabase {
  url: string
  drop: () => Promise<void>
}

const randomName = () => `fta_${randomBytes(6).toString('hex')}`

export async function createDatabase (name = randomName(), settings = ''): Promise<TestDatabase> {
  const server = required('DATABASE_URL')
  await query(`CREATE DATABASE ${pg.escapeIdentifier(name)} ${settings}`, server)
  const url = new URL(server)
  url.pathname = `/${encodeURIComponent(name)}`
  // With FORCE, because a failed test may have left connections open.
  const drop = async () => { await query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`, server) }
  return { url: url.href, drop }
}

export function redisUrl (): string {
  return required('REDIS_URL')
}

/** A database whose encoding is not UTF8. */
export async function createDatabaseIn (encoding: string): Promise<TestDatabase> {
  return await createDatabase(randomName(), `TEMPLATE template0 LOCALE 'C' ENCODING '${encoding}'`)
}

// Test files share one Redis: each uses only its own keys, and none may call FLUSHALL.
export function uniqueNamespace (): string {
  return `${randomName()}:`
}

export async function query (text: string, url: string): Promise<any[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** An empty database, dropped when the test ends. */
export async function freshDatabase (t: Test): Promise<string> {
  const database = await createDatabase()
  t.teardown(() => database.drop())
  return database.url
}

function required (name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set. Run the tests with \`npm test\`, which starts PostgreSQL and Redis.`)
  return value
}
