import Fastify from 'fastify'
import pg from 'pg'
import type { Test } from 'tap'
import { authPlugin } from '../../../lib/index.js'
import { fastHasher } from '../../helpers/app.js'
import { createPostgresServer } from '../../helpers/postgres-server.js'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import { createRedisServer } from '../../helpers/redis-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { closeClients } from './asking.js'
import type { StormUser } from './asking.js'
import type { Isolation } from './modes.js'

export interface Services {
  redis: RedisServer
  postgres: PostgresServer
}

/** Starts a Redis and a PostgreSQL for storms. */
export async function startServices (t: Test): Promise<Services> {
  const [redis, postgres] = await Promise.all([createRedisServer(t), createPostgresServer(t)])
  await Promise.all([redis.start(), postgres.start()])
  t.teardown(closeClients)
  return { redis, postgres }
}

export interface Population { immortals: number, mortals: number, isolation: Isolation }

/** Creates the users of a storm in an empty database. The first ones are never deleted. */
export async function createUsers (connectionString: string, { immortals, mortals, isolation }: Population): Promise<StormUser[]> {
  const app = Fastify()
  await app.register(authPlugin, { database: { connectionString }, autoMigrate: true, hasher: fastHasher, rateLimit: false, accountLimit: false })
  await app.ready()
  const users: StormUser[] = []
  // One after another, because so many concurrent hashes would be refused.
  for (let index = 0; index < immortals + mortals; index++) {
    const password = `number ${index} has password 0`
    const { id, username } = await app.tokenAuth.createUser({ username: `user${index}`, password })
    users.push({ name: username, id: String(id), passwords: [password], password, live: [], isMortal: index >= immortals })
  }
  await app.close()
  await execute(connectionString, ({ database }) => ['alter table users add column version int not null default 0', `alter database ${database} set default_transaction_isolation = '${isolation}'`])
  return users
}

/** Creates an empty database with the given name, and resolves to its URL. */
export async function createDatabase ({ url }: PostgresServer, name: string): Promise<string> {
  await execute(url, () => [`drop database if exists ${name}`, `create database ${name}`])
  const address = new URL(url)
  address.pathname = name
  return address.href
}

async function execute (connectionString: string, statements: (client: pg.Client) => string[]): Promise<void> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  for (const statement of statements(client)) await client.query(statement)
  await client.end()
}
