import Fastify from 'fastify'
import pg from 'pg'
import type { Test } from 'tap'
import { authPlugin } from '../../../lib/index.js'
import { fastHasher } from '../../helpers/app.js'
import { compile } from '../../helpers/compile.js'
import { createPostgresServer } from '../../helpers/postgres-server.js'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import { createRedisServer } from '../../helpers/redis-server.js'
import type { RedisServer } from '../../helpers/redis-server.js'
import { closeClients } from './asking.js'
import type { StormUser } from './asking.js'

export interface Services {
  redis: RedisServer
  postgres: PostgresServer
  /** The folder with the compiled sources. */
  code: string
}

/** A Redis and a PostgreSQL for storms, started. */
export async function startServices (t: Test): Promise<Services> {
  const [redis, postgres, code] = await Promise.all([createRedisServer(t), createPostgresServer(t), compile(t)])
  await Promise.all([redis.start(), postgres.start()])
  t.teardown(closeClients)
  return { redis, postgres, code }
}

/** A new database of the given name, with users, of whom the first are immortal. */
export async function createUsers (postgres: PostgresServer, database: string, { immortals, mortals }: { immortals: number, mortals: number }): Promise<StormUser[]> {
  const app = Fastify()
  const connectionString = await createDatabase(postgres, database)
  await app.register(authPlugin, { database: { connectionString }, autoMigrate: true, hasher: fastHasher, rateLimit: false, accountLimit: false })
  await app.ready()
  const users: StormUser[] = []
  // One after another: so many hashes at once would be refused.
  for (let index = 0; index < immortals + mortals; index++) {
    const password = `number ${index} has password 0`
    const { id, username } = await app.tokenAuth.createUser({ username: `user${index}`, password })
    users.push({ name: username, id: String(id), passwords: [password], password, live: [], isMortal: index >= immortals })
  }
  await app.close()
  return users
}

async function createDatabase (postgres: PostgresServer, name: string): Promise<string> {
  const client = new pg.Client({ connectionString: postgres.url })
  await client.connect()
  await client.query(`drop database if exists ${name}`)
  await client.query(`create database ${name}`)
  await client.end()
  const url = new URL(postgres.url)
  url.pathname = name
  return url.href
}
