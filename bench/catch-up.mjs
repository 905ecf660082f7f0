// Measures how long the cache is not used after a lost connection, by the number of recent revocations: npm run bench:catch-up [-- 1000 100000]
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import authPlugin from '../dist/lib/index.js'
import { execute, forgetKeys, withDatabase } from './common.mjs'

const counts = process.argv.slice(2).map(Number)
if (counts.length === 0) counts.push(1000, 100_000, 1_000_000)

const insert = (count) => `insert into auth_tokens (digest, user_id, expires_at, revoked_at, stale_at, revoke_reason)
  select sha256(random()::text::bytea || n::text::bytea), null, now() + interval '1 day', now(), now() - n * interval '5 minutes' / ${count}, 'logout' from generate_series(1, ${count}) n`

/** Milliseconds from the loss of the connection until the cache is trusted again, and the same for as many plain SETs in pipelines. */
async function measure (databaseUrl, count) {
  const namespace = `bench-${randomUUID()}:`
  const app = Fastify()
  await app.register(authPlugin, {
    database: { connectionString: databaseUrl, statement_timeout: 60_000 },
    redis: { url: process.env.REDIS_URL },
    cache: { namespace },
    lookup: { timeout: '20s' },
    autoMigrate: true
  })
  await app.ready()
  await execute(databaseUrl, 'truncate auth_tokens')
  await execute(databaseUrl, insert(count))
  await execute(databaseUrl, 'analyze auth_tokens')
  const admin = new Redis(process.env.REDIS_URL)
  await once(admin, 'ready')
  const health = async () => (await app.tokenAuth.health()).cache
  const startedAt = performance.now()
  await admin.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  while (await health() === 'up') await new Promise((resolve) => setTimeout(resolve, 1))
  while (await health() !== 'up') await new Promise((resolve) => setTimeout(resolve, 5))
  const caughtUpMs = performance.now() - startedAt
  const plainMs = await plainSets(admin, namespace, count)
  await app.close()
  await forgetKeys(admin, `${namespace}*`)
  admin.disconnect()
  return { revocations: count, 'unused, ms': Math.round(caughtUpMs), 'us each': (1000 * caughtUpMs / count).toFixed(1), 'plain SETs, ms': Math.round(plainMs), ratio: (caughtUpMs / plainMs).toFixed(1) }
}

async function plainSets (redis, namespace, count) {
  const startedAt = performance.now()
  for (let done = 0; done < count; done += 5000) {
    const pipeline = redis.pipeline()
    for (let i = done; i < Math.min(done + 5000, count); i++) pipeline.set(`${namespace}p:${i}`, 'R', 'PX', 60_000)
    await pipeline.exec()
  }
  return performance.now() - startedAt
}

await withDatabase(async (url) => {
  const rows = []
  for (const count of counts) rows.push(await measure(url, count))
  console.table(rows)
})
process.exit(0)
