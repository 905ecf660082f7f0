#!/usr/bin/env node
// Usage: npm run bench:revocation [-- 10000]. How long a logout takes with near caches on 1, 3 and 10 servers, and how often one of them accepts the
// token after the answer.
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import Fastify from 'fastify'
import { authPlugin } from '../dist/lib/index.js'
import { percentile, withDatabase } from './common.mjs'

/** Concurrent logouts. Higher numbers would measure the queues of a busy machine. */
const LANES = 2
/** Tokens of a user. */
const BATCH = 500
/** Each waits for a lease. */
const FREEZES = 20

if (process.send) await serve(JSON.parse(process.argv[2]))
else await measureAll(readCount(process.argv[2] ?? '10000'))

function readCount (text) {
  if (/^[1-9]\d*$/.test(text)) return Number(text)
  throw new Error(`the number of revocations must be a number, got ${text}`)
}

async function measureAll (revocations) {
  const rows = {}
  for (const [name, servers, options] of [['1 server', 1], ['3 servers', 3], ['10 servers', 10], ['3 servers without Redis', 3, { redis: null }]]) {
    console.error(`${name} ...`)
    await withServers(servers, options, async (all) => { rows[name] = await healthy(all, revocations) })
  }
  console.error('3 servers, one of them frozen ...')
  await withServers(3, {}, async (all) => { rows['3 servers, one frozen'] = await frozen(all) })
  console.log('\nLogouts with a near cache on every server (lease 2 s)')
  console.table(rows)
}

/** Servers with one PostgreSQL, and one Redis if they have one. */
async function withServers (count, options, work) {
  await withDatabase(async (databaseUrl) => {
    const agent = new http.Agent({ keepAlive: true })
    const namespace = `bench${randomBytes(6).toString('hex')}:`
    const servers = []
    try {
      for (let i = 0; i < count; i++) servers.push(await start({ agent, databaseUrl, namespace, redis: { url: process.env.REDIS_URL }, ...options }))
      await work(servers)
    } finally {
      agent.destroy()
      await Promise.all(servers.map(({ server }) => Promise.all([once(server, 'exit'), server.disconnect()])))
    }
  })
}

async function start ({ agent, ...settings }) {
  const server = fork(new URL(import.meta.url), [JSON.stringify(settings)])
  const [{ port }] = await once(server, 'message')
  return { server, call: caller({ agent, port }) }
}

async function healthy (servers, revocations) {
  const ends = []
  const startedAt = performance.now()
  for (let done = 0; done < revocations; done += BATCH) {
    const waiting = await issue(servers[0], Math.min(BATCH, revocations - done))
    await Promise.all(Array.from({ length: LANES }, async () => {
      for (let token = waiting.pop(); token !== undefined; token = waiting.pop()) ends.push(await endOne(servers, token))
    }))
  }
  return { ...summaryOf(ends), 'total s': Math.round((performance.now() - startedAt) / 1000) }
}

// The frozen server must have the token in its memory, and a lease.
async function frozen (servers) {
  const victim = servers.at(-1)
  const ends = []
  for (const token of await issue(servers[0], FREEZES)) {
    await isKnown(servers, token)
    victim.server.kill('SIGSTOP')
    const end = await logout(servers[0], token)
    const others = await countAccepted(servers.slice(0, -1), token)
    victim.server.kill('SIGCONT')
    ends.push({ ...end, accepted: others + await countAccepted([victim], token) })
  }
  return summaryOf(ends)
}

function summaryOf (ends) {
  const times = ends.map(({ ms }) => ms)
  return {
    logouts: ends.length,
    'p50 ms': round(percentile(times, 0.5)),
    'p99 ms': round(percentile(times, 0.99)),
    'max ms': round(Math.max(...times)),
    'accepted after it': ends.reduce((sum, { accepted }) => sum + accepted, 0)
  }
}

async function endOne (servers, token) {
  for (const server of servers) await mustBe(200, status(server, token))
  const end = await logout(servers[0], token)
  return { ...end, accepted: await countAccepted(servers, token) }
}

async function logout (server, token) {
  const startedAt = performance.now()
  await mustBe(204, server.call('POST', '/auth/logout', token))
  return { ms: performance.now() - startedAt }
}

async function countAccepted (servers, token) {
  const statuses = await Promise.all(servers.map((server) => status(server, token)))
  for (const status of statuses) if (status !== 200 && status !== 401) throw new Error(`the route answered ${status}`)
  return statuses.filter((status) => status === 200).length
}

async function isKnown (servers, token) {
  for (const server of servers) {
    do await mustBe(200, status(server, token))
    while (!await hasInMemory(server))
  }
}

/** Whether its last request needed no look-up. */
async function hasInMemory ({ server }) {
  server.send({ ask: 'isInMemory' })
  const [{ isInMemory }] = await once(server, 'message')
  return isInMemory
}

async function issue ({ server }, count) {
  server.send({ issue: count })
  const [{ tokens }] = await once(server, 'message')
  return tokens
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
async function serve ({ databaseUrl, namespace, redis }) {
  const app = Fastify()
  await app.register(authPlugin, {
    database: { connectionString: databaseUrl },
    redis,
    cache: { namespace, near: true },
    token: { maxPerUser: BATCH },
    autoMigrate: true
  })
  // Requests share the user of an entry, so a second request gets the same object.
  let [user, isInMemory] = [null, false]
  app.get('/protected', { onRequest: app.authenticate }, async (request) => {
    isInMemory = request.user === user
    user = request.user
    return { id: user.id }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.once('disconnect', () => app.close())
  process.on('message', async ({ issue: count, ask }) => {
    if (ask !== undefined) return process.send({ isInMemory })
    const { id } = await app.tokenAuth.createUser({ username: randomBytes(6).toString('hex'), password: null })
    const tokens = []
    for (let i = 0; i < count; i++) tokens.push((await app.tokenAuth.issueToken(id)).token)
    process.send({ tokens })
  })
  process.send({ port: app.server.address().port })
}

function round (value) {
  return Number(value.toFixed(2))
}
