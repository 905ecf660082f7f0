// Throughput of two server processes on one port, compared with one.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import Fastify from 'fastify'
import { authPlugin } from '../../dist/lib/index.js'
import { issueTokens, median, withDatabase } from '../common.mjs'
import { load, requestOf } from '../speed/load.mjs'

const ROUNDS = 3
const CONNECTIONS = 64
const TOKENS = 10_000
const WARM_UP_MS = 8000
const WARM_MS = 500
const MEASURE_MS = 3000
/** One for each server, one for the load generator, one for Redis and PostgreSQL. */
const ENOUGH_CORES = 4

/** Requests per second of each; `hasCores`: whether the machine has a core for each process. */
export async function compareProcesses (tell) {
  const rps = { 1: [], 2: [] }
  await withDatabase(async (databaseUrl) => {
    const requests = await prepare(databaseUrl)
    const clusters = { 1: await startCluster(databaseUrl, 1), 2: await startCluster(databaseUrl, 2) }
    const measure = async (count, warmMs) => await throughput({ port: clusters[count].port, requests, warmMs })
    for (const count of [1, 2]) await measure(count, WARM_UP_MS)
    for (let round = 1; round <= ROUNDS; round++) {
      tell(`round ${round} of ${ROUNDS}`)
      for (const count of [1, 2]) rps[count].push(await measure(count, WARM_MS))
    }
    for (const { stop } of Object.values(clusters)) await stop()
  })
  const gains = rps[2].map((two, i) => two / rps[1][i])
  return { one: median(rps[1]), two: median(rps[2]), gain: median(gains), gains, cores: cpus().length, hasCores: cpus().length >= ENOUGH_CORES }
}

async function prepare (databaseUrl) {
  const app = Fastify()
  await app.register(authPlugin, { database: { connectionString: databaseUrl }, autoMigrate: true })
  await app.tokenAuth.createUser({ username: 'alice', password: 'correct horse battery' })
  await app.close()
  const tokens = await issueTokens(databaseUrl, { count: TOKENS, username: 'alice' })
  return tokens.map((token) => requestOf(`authorization: Bearer ${token}`))
}

async function startCluster (databaseUrl, count) {
  const child = fork(new URL('cluster.mjs', import.meta.url), [String(count)], { env: { ...process.env, NODE_ENV: 'production', DATABASE_URL: databaseUrl } })
  const [ready] = await Promise.race([once(child, 'message'), once(child, 'exit')])
  if (ready.port === undefined) throw new Error('a cluster did not start')
  return {
    port: ready.port,
    async stop () {
      child.disconnect()
      await once(child, 'exit')
    }
  }
}

async function throughput ({ port, requests, warmMs }) {
  const next = () => requests[Math.floor(Math.random() * requests.length)]
  const { completed, seconds } = await load({ port, connections: CONNECTIONS, next, warmMs, measureMs: MEASURE_MS, around: async () => {} })
  return completed / seconds
}
