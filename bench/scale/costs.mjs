// The cost of one operation after another, without the network between client and server: its time, and the CPU time of all processes.
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { forgetKeys, issueTokens, median, percentile } from '../common.mjs'
import { addEnded, PASSWORD, userNamed, usersOf } from './sessions.mjs'

const TOKENS = 5000
const LOGINS = 200
const ENDED = 10_000
const BATCH = 1000

export async function measureCosts ({ app, services, databaseUrl, namespace, size }) {
  const redis = new Redis(process.env.REDIS_URL)
  const known = await issueTokens(databaseUrl, { count: TOKENS, username: 'alice' })
  const get = (token) => call(app, 'GET', '/me', { token, status: 200 })

  const memoryBefore = await usedMemory(redis)
  const miss = await measure(services, each(known, get))
  // The entries are written after the answers.
  await sleep(500)
  const memory = await memoryOf({ redis, namespace, before: memoryBefore })
  const hit = await measure(services, each(known, get))
  const tokens = []
  const login = await measure(services, each(someUsers(size), async (username) => { tokens.push(await logIn(app, username)) }))
  const logoutAll = await measure(services, each(tokens, (token) => call(app, 'POST', '/auth/logout-all', { token, status: 204 })))
  await addEnded(databaseUrl, ENDED)
  const pruning = (onProgress) => app.tokenAuth.pruneExpired({ batchSize: BATCH, onProgress })
  const prune = await measure(services, pruning)
  const pruneNothing = await measure(services, pruning)
  // Keys that expired during the next measurement would falsify its memory.
  await forgetKeys(redis, `${namespace}*`)
  redis.disconnect()
  return { costs: { hit, miss, login, 'logout-all': logoutAll, prune, 'prune-nothing': pruneNothing }, memory }
}

/** Works on one item after the other, and tells each that is done. */
function each (items, work) {
  return async (done) => {
    for (const item of items) {
      await work(item)
      done()
    }
  }
}

/** The time from one `done` to the next, and the mean of the CPU time. */
async function measure (services, work) {
  const times = []
  const cpuBefore = await cpuNow(services)
  let startedAt = performance.now()
  await work(() => {
    const now = performance.now()
    times.push(now - startedAt)
    startedAt = now
  })
  const cpuMs = (await cpuNow(services) - cpuBefore) * 1000 / times.length
  return { ms: median(times), p99Ms: percentile(times, 0.99), cpuMs }
}

/** CPU seconds of this process, Redis and PostgreSQL together. */
async function cpuNow (services) {
  const { user, system } = process.cpuUsage()
  const { redis, postgres } = await services.cpu()
  return (user + system) / 1e6 + redis + (postgres ?? 0)
}

function someUsers (size) {
  const users = usersOf(size)
  return Array.from({ length: Math.min(LOGINS, users) }, (_, i) => userNamed(1 + Math.floor(i * users / LOGINS)))
}

async function logIn (app, username) {
  return (await call(app, 'POST', '/auth/login', { body: { username, password: PASSWORD }, status: 200 })).json().token
}

async function call (app, method, url, { token, body, status }) {
  const reply = await app.inject({ method, url, headers: token && { authorization: `Bearer ${token}` }, body })
  if (reply.statusCode !== status) throw new Error(`${method} ${url} answered ${reply.statusCode}: ${reply.body}`)
  return reply
}

/** Bytes of Redis for one token: of the keys themselves, and what the memory of all has grown by. */
async function memoryOf ({ redis, namespace, before }) {
  const after = await usedMemory(redis)
  const usages = []
  for await (const keys of redis.scanStream({ match: `${namespace}t:*`, count: 1000 })) {
    usages.push(...await Promise.all(keys.map((key) => redis.memory('USAGE', key))))
  }
  return { keyBytes: median(usages), grownBytes: (after - before) / usages.length, keys: usages.length }
}

async function usedMemory (redis) {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))[1])
}
