#!/usr/bin/env node
// Usage: npm run build && node scripts/with-services.mjs node bench/login-flood.mjs [--logins 300]
// Measures how a flood of logins affects an authenticated route, and fs.stat and dns.lookup in the server's process.
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import dns from 'node:dns/promises'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import Fastify from 'fastify'
import { argon2id, authPlugin, bcrypt } from '../dist/lib/index.js'
import { percentile, withDatabase } from './common.mjs'

const HASHERS = { 'bcrypt(12)': () => bcrypt(), 'argon2id()': () => argon2id() }
const USERS = ['probe', 'a', 'b']
const PASSWORD = 'correct horse battery'
const IDLE_MS = 3000
const LOADED_MS = 8000
const PACE_MS = 5

if (process.send) await serve(process.argv[2])
else await compare(readLogins())

function readLogins () {
  const { values } = parseArgs({ options: { logins: { type: 'string', default: '300' } } })
  return Number(values.logins)
}

async function compare (logins) {
  for (const hasher of Object.keys(HASHERS)) {
    await withDatabase((databaseUrl) => measureHasher({ hasher, databaseUrl, logins }))
  }
}

async function measureHasher ({ hasher, databaseUrl, logins }) {
  const server = fork(new URL(import.meta.url), [hasher], { env: { ...process.env, DATABASE_URL: databaseUrl } })
  const agent = new http.Agent({ keepAlive: true })
  try {
    const [{ port }] = await once(server, 'message')
    const call = caller({ agent, port })
    const { body: { token } } = await call('POST', '/auth/login', { body: { username: 'probe', password: PASSWORD } })
    const idle = await measure({ server, call, token, forMs: IDLE_MS, logins: 0 })
    const loaded = await measure({ server, call, token, forMs: LOADED_MS, logins })
    print({ hasher, logins, idle, loaded })
  } finally {
    agent.destroy()
    if (server.exitCode === null) await Promise.all([once(server, 'exit'), server.connected && server.disconnect()])
  }
}

async function measure ({ server, call, token, forMs, logins }) {
  const until = performance.now() + forMs
  const counts = { done: 0, overloaded: 0, other: 0 }
  server.send('start')
  const refusedIn = []
  const flood = Array.from({ length: logins }, (_, i) => logInAgainAndAgain({ call, username: USERS[1 + i % 2], until, counts, refusedIn }))
  const route = await probeAtPace(until, async () => {
    const { status } = await call('GET', '/protected', { token })
    if (status !== 200) throw new Error(`the route answered ${status}`)
  })
  server.send('stop')
  const [inside] = await once(server, 'message')
  await Promise.all(flood)
  return { route, ...inside, counts, refusedIn, seconds: forMs / 1000 }
}

async function logInAgainAndAgain ({ call, username, until, counts, refusedIn }) {
  while (performance.now() < until) {
    const startedAt = performance.now()
    const { status, retryAfter } = await call('POST', '/auth/login', { body: { username, password: PASSWORD } })
    const isInTime = performance.now() < until
    if (isInTime) counts[{ 200: 'done', 503: 'overloaded' }[status] ?? 'other']++
    if (isInTime && status === 503) refusedIn.push(performance.now() - startedAt)
    if (retryAfter !== undefined && isInTime) await sleep(Math.min(Number(retryAfter) * 1000, until - performance.now()))
  }
}

/** Sends requests at a fixed pace without waiting for answers: otherwise it would send few requests while answers are slow. */
async function probeAtPace (until, action) {
  const times = []
  while (performance.now() < until) {
    const startedAt = performance.now()
    times.push(action().then(() => performance.now() - startedAt))
    await sleep(PACE_MS)
  }
  return await Promise.all(times)
}

async function probe (getUntil, action) {
  const times = []
  while (performance.now() < getUntil()) {
    const startedAt = performance.now()
    await action()
    times.push(performance.now() - startedAt)
    await sleep(PACE_MS)
  }
  return times
}

function caller ({ agent, port }) {
  return async function call (method, path, { token, body } = {}) {
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(payload && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }) }
    const request = http.request({ agent, port, host: '127.0.0.1', method, path, headers })
    request.end(payload)
    const [reply] = await once(request, 'response')
    const text = (await reply.toArray()).join('')
    return { status: reply.statusCode, retryAfter: reply.headers['retry-after'], body: JSON.parse(text) }
  }
}

/** Runs in a separate process, so that the clients' work is not measured. */
async function serve (hasher) {
  const app = Fastify()
  await app.register(authPlugin, {
    database: { connectionString: process.env.DATABASE_URL },
    redis: { url: process.env.REDIS_URL },
    cache: { namespace: `fta_bench_${randomBytes(6).toString('hex')}:` },
    token: { maxPerUser: 10_000 },
    autoMigrate: true,
    hasher: HASHERS[hasher](),
    rateLimit: false,
    accountLimit: false
  })
  app.get('/protected', { onRequest: app.authenticate }, async ({ user }) => ({ id: user.id }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  for (const username of USERS) await app.tokenAuth.createUser({ username, password: PASSWORD })
  process.once('disconnect', () => app.close())
  process.on('message', probeOnRequest())
  process.send({ port: app.server.address().port })
}

function probeOnRequest () {
  let until = 0
  return async (message) => {
    until = message === 'start' ? Infinity : 0
    if (message !== 'start') return
    const [stat, lookup] = await Promise.all([probe(() => until, () => fs.stat('.')), probe(() => until, () => dns.lookup('localhost'))])
    process.send({ stat, lookup })
  }
}

function print ({ hasher, logins, idle, loaded }) {
  const { counts: { done, overloaded, other }, refusedIn, seconds } = loaded
  console.log(`\n${hasher}, ${logins} concurrent logins: ${(done / seconds).toFixed(1)} logins/s, ${overloaded} refused with 503${slowest(refusedIn)}, ${other} otherwise`)
  console.table(Object.fromEntries(['route', 'stat', 'lookup'].map((name) => [name, rowOf(idle[name], loaded[name])])))
}

function slowest (times) {
  return times.length === 0 ? '' : ` (the slowest after ${round(Math.max(...times))} ms)`
}

function rowOf (idle, loaded) {
  const row = {}
  for (const [name, share] of [['p50', 0.5], ['p99', 0.99]]) {
    const [before, after] = [percentile(idle, share), percentile(loaded, share)]
    Object.assign(row, { [`${name} idle ms`]: round(before), [`${name} loaded ms`]: round(after), [`${name} ratio`]: round(after / before) })
  }
  return row
}

function round (value) {
  return Number(value.toFixed(2))
}
