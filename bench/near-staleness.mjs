#!/usr/bin/env node
// Usage: npm run build && node scripts/with-services.mjs node bench/near-staleness.mjs [revocations]
// Measures how long after a completed logout on one server another server with a near cache still accepts the token.
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { authPlugin } from '../dist/lib/index.js'
import { execute, percentile } from './common.mjs'

const TTL_MS = 1000
/** Concurrent logouts, and concurrent requests for each token. Higher numbers would measure the queues of a busy machine. */
const LANES = 2
const ASKERS = 2
/** Tokens per batch: fewer than cache.near.max, so that every token is in the near cache at its logout. */
const BATCH = 500
/** Without notifications each token takes `TTL_MS`, so there are fewer tokens and more concurrent logouts. */
const UNTOLD = { revocations: 500, lanes: 50 }

if (process.send) await serve(JSON.parse(process.argv[2]))
else await measureAll(readCount(process.argv[2] ?? '10000'))

function readCount (text) {
  if (/^[1-9]\d*$/.test(text)) return Number(text)
  throw new Error(`the number of revocations must be a number, got ${text}`)
}

async function measureAll (revocations) {
  const rows = {}
  rows.told = await withWorld({ isTold: true }, (world) => measure(world, { revocations, lanes: LANES }))
  rows['not told'] = await withWorld({ isTold: false }, (world) => measure(world, UNTOLD))
  console.log(`\nFrom a completed logout on one server to the last request that another accepts, cache.near.ttl ${TTL_MS} ms`)
  console.table(rows)
}

/** Two servers with one PostgreSQL and one Redis. With `isTold: false` the first one may not publish notifications. */
async function withWorld ({ isTold }, work) {
  const name = `fta_bench_${randomBytes(6).toString('hex')}`
  const url = new URL(process.env.DATABASE_URL)
  url.pathname = `/${name}`
  const redis = new Redis(process.env.REDIS_URL)
  const agent = new http.Agent({ keepAlive: true })
  const servers = []
  async function start (more) {
    const settings = { databaseUrl: url.href, namespace: `${name}:`, ...more }
    const server = fork(new URL(import.meta.url), [JSON.stringify(settings)])
    servers.push(server)
    const [{ port }] = await once(server, 'message')
    return { server, call: caller({ agent, port }) }
  }
  await execute(process.env.DATABASE_URL, `CREATE DATABASE ${name}`)
  await redis.call('ACL', 'SETUSER', name, 'on', '>bench', '~*', '&*', '+@all', ...isTold ? [] : ['-publish'])
  try {
    const a = await start({ username: name, password: 'bench' })
    return await work({ a, b: await start({}) })
  } finally {
    agent.destroy()
    await Promise.all(servers.filter(({ exitCode }) => exitCode === null).map((server) => Promise.all([once(server, 'exit'), server.connected && server.disconnect()])))
    await redis.call('ACL', 'DELUSER', name)
    redis.disconnect()
    await execute(process.env.DATABASE_URL, `DROP DATABASE ${name} WITH (FORCE)`)
  }
}

async function measure ({ a, b }, { revocations, lanes }) {
  const stale = []
  const logouts = []
  let busyMs = 0
  for (let done = 0; done < revocations; done += BATCH) {
    const tokens = await issue(a, Math.min(BATCH, revocations - done))
    const waiting = [...tokens]
    const startedAt = performance.now()
    await Promise.all(Array.from({ length: lanes }, async () => {
      for (let token = waiting.pop(); token !== undefined; token = waiting.pop()) {
        const { staleMs, logoutMs } = await endOne({ a, b, token })
        stale.push(staleMs)
        logouts.push(logoutMs)
      }
    }))
    busyMs += performance.now() - startedAt
    // Detects an old entry that has returned.
    for (const token of tokens) if (await status(b, token) !== 401) throw new Error('a token that was refused is accepted again')
  }
  const late = stale.filter((ms) => ms > 0)
  return {
    revocations,
    'revocations/s': Math.round(revocations / busyMs * 1000),
    'logout p50 ms': round(percentile(logouts, 0.5)),
    'accepted after it': late.length,
    'p50 ms': round(percentile(stale, 0.5)),
    'p95 ms': round(percentile(stale, 0.95)),
    'p99 ms': round(percentile(stale, 0.99)),
    'max ms': round(Math.max(...stale))
  }
}

async function issue ({ server }, count) {
  server.send({ issue: count })
  const [{ tokens }] = await once(server, 'message')
  return tokens
}

/** Logs out a token that both servers have cached. All times are from the clock of this process. */
async function endOne ({ a, b, token }) {
  for (const server of [a, b, b]) await mustBe(200, status(server, token))
  const ending = { completedAt: Infinity, lastAcceptedAt: -Infinity }
  const asking = Array.from({ length: ASKERS }, () => askUntilRefused(b, token, ending))
  const startedAt = performance.now()
  await mustBe(204, a.call('POST', '/auth/logout', token))
  ending.completedAt = performance.now()
  await Promise.all(asking)
  return { staleMs: Math.max(0, ending.lastAcceptedAt - ending.completedAt), logoutMs: ending.completedAt - startedAt }
}

// The time of a request is when it was sent, so a request in progress at the logout does not count.
async function askUntilRefused (server, token, ending) {
  while (true) {
    const sentAt = performance.now()
    const answer = await status(server, token)
    if (answer === 401 && sentAt > ending.completedAt) return
    if (answer === 200) ending.lastAcceptedAt = Math.max(ending.lastAcceptedAt, sentAt)
    else if (answer !== 401) throw new Error(`the route answered ${answer}`)
  }
}

async function status ({ call }, token) {
  return await call('GET', '/protected', token)
}

async function mustBe (wanted, asked) {
  const answered = await asked
  if (answered !== wanted) throw new Error(`answered ${answered} in place of ${wanted}`)
}

function caller ({ agent, port }) {
  return async function call (method, path, token) {
    const request = http.request({ agent, port, host: '127.0.0.1', method, path, headers: { authorization: `Bearer ${token}` } })
    request.end()
    try {
      const [reply] = await once(request, 'response')
      reply.resume()
      await once(reply, 'end')
      return reply.statusCode
    } catch (error) {
      // The server had closed the idle connection; a logout may be repeated.
      if (request.reusedSocket && error.code === 'ECONNRESET') return await call(method, path, token)
      throw error
    }
  }
}

/** Runs in a separate process. */
async function serve ({ databaseUrl, namespace, ...redis }) {
  const app = Fastify()
  await app.register(authPlugin, {
    database: { connectionString: databaseUrl },
    redis: { url: process.env.REDIS_URL, ...redis },
    cache: { namespace, near: { ttl: TTL_MS } },
    token: { maxPerUser: BATCH },
    autoMigrate: true
  })
  app.get('/protected', { onRequest: app.authenticate }, async ({ user }) => ({ id: user.id }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.once('disconnect', () => app.close())
  process.on('message', async ({ issue: count }) => {
    const { id } = await app.tokenAuth.createUser({ username: randomBytes(6).toString('hex'), password: 'correct horse battery' })
    const tokens = []
    for (let i = 0; i < count; i++) tokens.push((await app.tokenAuth.issueToken(id)).token)
    process.send({ tokens })
  })
  process.send({ port: app.server.address().port })
}

function round (value) {
  return Number(value.toFixed(2))
}
