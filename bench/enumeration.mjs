#!/usr/bin/env node
// Usage: npm run build && node scripts/with-services.mjs node bench/enumeration.mjs [--n 200] [--hasher bcrypt|argon2id] [--cost 10] [--seconds 110] [--limited]
// Measures whether the time of a refused login reveals the reason: compares each class of refusals with wrong passwords of known users.
import { fork } from 'node:child_process'
import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { parseArgs } from 'node:util'
import Fastify from 'fastify'
import pg from 'pg'
import { argon2id, authPlugin, bcrypt } from '../dist/lib/index.js'
import { withDatabase } from './common.mjs'

const RIGHT = 'correct horse battery'
const WRONG = 'correct horse staples'
const NAMES_OF_A_CLASS = 20
const PBKDF2_ITERATIONS = 260_000
const WARM_UP = 5
const MANY_SESSIONS = 3000

/**
 * The stored hash and the password sent for the usernames of a class. `null` means no such user. Usernames never reveal their class.
 * The other classes are compared with the first one.
 */
const CLASSES = {
  'wrong password': { stored: (hash) => hash },
  'wrong password again': { stored: (hash) => hash },
  'unknown user': { stored: null },
  'inactive, right password': { stored: (hash) => hash, active: false, password: RIGHT },
  'unusable password': { stored: () => `!${randomBytes(20).toString('hex')}` },
  'no password': { stored: () => null },
  'damaged hash': { stored: (hash) => hash.slice(0, -5) },
  'imported hash (for information)': { stored: pbkdf2Hash, every: 4 },
  'right login (for information)': { stored: (hash) => hash, password: RIGHT, status: 200, every: 4 }
}

/** Classes of usernames that exceed the limit of their account. */
const LIMITED_CLASSES = {
  'unknown user': { stored: null, status: 429 },
  'unknown user again': { stored: null, status: 429 },
  'no session': { stored: (hash) => hash, status: 429 },
  [`${MANY_SESSIONS} sessions`]: { stored: (hash) => hash, sessions: MANY_SESSIONS, status: 429 }
}

if (process.send) await serve(JSON.parse(process.argv[2]))
else await compare(readOptions())

function readOptions () {
  const { values } = parseArgs({
    options: {
      n: { type: 'string', default: '200' },
      hasher: { type: 'string', default: 'bcrypt' },
      cost: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '110' },
      limited: { type: 'boolean', default: false }
    }
  })
  if (!['bcrypt', 'argon2id'].includes(values.hasher)) throw new Error('--hasher must be bcrypt or argon2id')
  return { n: Number(values.n), hasher: values.hasher, cost: Number(values.cost), seconds: Number(values.seconds), limited: values.limited }
}

async function compare (options) {
  await withDatabase((url) => measure(url, options))
}

async function measure (databaseUrl, options) {
  const server = fork(new URL(import.meta.url), [JSON.stringify(options)], { env: { ...process.env, DATABASE_URL: databaseUrl } })
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  try {
    const [{ port, hash }] = await once(server, 'message')
    const classes = options.limited ? LIMITED_CLASSES : CLASSES
    const names = await createUsers({ databaseUrl, hash, classes })
    const logIn = caller({ agent, port })
    if (options.limited) await reachLimits(logIn, names)
    const times = await logInAgainAndAgain({ logIn, names, classes, ...options })
    print(times, options)
  } finally {
    agent.destroy()
    if (server.exitCode === null) await Promise.all([once(server, 'exit'), server.connected && server.disconnect()])
  }
}

async function createUsers ({ databaseUrl, hash, classes }) {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const names = {}
    for (const [name, { stored, active = true, sessions = 0 }] of Object.entries(classes)) {
      names[name] = Array.from({ length: NAMES_OF_A_CLASS }, () => randomBytes(8).toString('hex'))
      if (stored === null) continue
      for (const username of names[name]) {
        await client.query('insert into users (username, password_hash, active) values ($1, $2, $3)', [username, stored(hash), active])
        await client.query(`insert into auth_tokens (digest, user_id, expires_at, ip) select sha256(uuid_send(gen_random_uuid())), id, now() + interval '1 day',
          inet '10.0.0.0' + n from users, generate_series(1, $2::int) n where username = $1`, [username, sessions])
      }
    }
    await client.query('vacuum analyze users')
    await client.query('vacuum analyze auth_tokens')
    return names
  } finally {
    await client.end()
  }
}

/** Makes one failed login per username, which is the only one that the limit allows. */
async function reachLimits (logIn, names) {
  for (const username of Object.values(names).flat()) await logIn({ username, password: WRONG }, 401)
}

/** One login after another. A round has one of each class in random order, so that other load on the machine affects all classes equally. */
async function logInAgainAndAgain ({ logIn, names, classes, n, seconds }) {
  const times = Object.fromEntries(Object.keys(classes).map((name) => [name, []]))
  const until = performance.now() + seconds * 1000
  for (let round = -WARM_UP; round < n && performance.now() < until; round++) {
    const due = shuffle(Object.keys(classes).filter((name) => round % (classes[name].every ?? 1) === 0))
    for (const name of due) {
      const { password = WRONG, status = 401 } = classes[name]
      const username = names[name][(round + WARM_UP) % NAMES_OF_A_CLASS]
      const elapsedMs = await logIn({ username, password }, status)
      if (round >= 0) times[name].push(elapsedMs)
    }
  }
  return times
}

function caller ({ agent, port }) {
  return async function logIn (body, expected) {
    const payload = JSON.stringify(body)
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }
    const startedAt = performance.now()
    const request = http.request({ agent, port, host: '127.0.0.1', method: 'POST', path: '/auth/login', headers })
    request.end(payload)
    const [reply] = await once(request, 'response')
    await reply.toArray()
    const elapsedMs = performance.now() - startedAt
    if (reply.statusCode !== expected) throw new Error(`${body.username} was answered ${reply.statusCode}, not ${expected}`)
    return elapsedMs
  }
}

/** Runs in a separate process, so that the client's work is not measured. */
async function serve ({ hasher, cost, limited }) {
  const own = hasher === 'bcrypt' ? bcrypt({ cost }) : argon2id()
  const app = Fastify()
  await app.register(authPlugin, {
    database: { connectionString: process.env.DATABASE_URL },
    redis: { url: process.env.REDIS_URL },
    cache: { namespace: `fta_bench_${randomBytes(6).toString('hex')}:` },
    token: { maxPerUser: 10_000 },
    autoMigrate: true,
    hasher: own,
    rateLimit: false,
    accountLimit: limited && { max: 1, delay: '1h' }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.once('disconnect', () => app.close())
  process.send({ port: app.server.address().port, hash: await own.hash(RIGHT) })
}

// The format of Django. No login uses the right password, so no hash is upgraded.
function pbkdf2Hash () {
  const salt = randomBytes(11).toString('hex')
  return `pbkdf2_sha256$${PBKDF2_ITERATIONS}$${salt}$${pbkdf2Sync(RIGHT, salt, PBKDF2_ITERATIONS, 32, 'sha256').toString('base64')}`
}

function shuffle (values) {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1))
    const value = values[i]
    values[i] = values[j]
    values[j] = value
  }
  return values
}

function ascending (values) {
  return values.toSorted((one, other) => one - other)
}

/** The two-sample Kolmogorov-Smirnov statistic, the largest distance of the empirical distributions, with its asymptotic p-value. */
function kolmogorovSmirnov (sample, reference) {
  const [one, other] = [ascending(sample), ascending(reference)]
  let [i, j, distance] = [0, 0, 0]
  while (i < one.length && j < other.length) {
    const time = Math.min(one[i], other[j])
    while (one[i] <= time) i++
    while (other[j] <= time) j++
    distance = Math.max(distance, Math.abs(i / one.length - j / other.length))
  }
  const root = Math.sqrt(one.length * other.length / (one.length + other.length))
  return { distance, p: kolmogorovTail((root + 0.12 + 0.11 / root) * distance) }
}

/** Q(x) = 2 * sum of (-1)^(k-1) * exp(-2 k² x²); the series does not converge near 0, where Q is 1. */
function kolmogorovTail (x) {
  if (x < 0.2) return 1
  let sum = 0
  for (let k = 1; k <= 100; k++) sum += 2 * (-1) ** (k - 1) * Math.exp(-2 * (k * x) ** 2)
  return Math.min(1, Math.max(0, sum))
}

/** Mann-Whitney: how often a time of the sample is longer than one of the reference; equal times count half. */
function areaUnderCurve (sample, reference) {
  let wins = 0
  for (const time of sample) for (const other of reference) wins += time > other ? 1 : time === other ? 0.5 : 0
  return wins / (sample.length * reference.length)
}

function print (times, { hasher, cost }) {
  const hashed = hasher === 'bcrypt' ? `bcrypt, cost ${cost}` : 'argon2id()'
  const [reference] = Object.keys(times)
  console.log(`\n${hashed}: milliseconds of a login, and each class against "${reference}"`)
  console.table(Object.fromEntries(Object.entries(times).map(([name, sample]) => [name, rowOf(sample, name === reference ? null : times[reference])])))
}

function rowOf (sample, reference) {
  const mean = sample.reduce((sum, time) => sum + time, 0) / sample.length
  const deviation = Math.sqrt(sample.reduce((sum, time) => sum + (time - mean) ** 2, 0) / (sample.length - 1))
  const percentile = (share) => ascending(sample)[Math.floor(sample.length * share)]
  const row = { n: sample.length, mean: round(mean, 2), p50: round(percentile(0.5), 2), p95: round(percentile(0.95), 2), sd: round(deviation, 2) }
  if (reference === null) return row
  const { distance, p } = kolmogorovSmirnov(sample, reference)
  return { ...row, 'KS D': round(distance, 3), 'KS p': Number(p.toPrecision(2)), AUC: round(areaUnderCurve(sample, reference), 3) }
}

function round (value, digits) {
  return Number(value.toFixed(digits))
}
