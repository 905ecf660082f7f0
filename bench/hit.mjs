#!/usr/bin/env node
// Usage: npm run bench:hit. What a hit in memory costs on the event loop, compared with one SHA-256 and a look-up in a Map in the same run.
import { hash } from 'node:crypto'
import Fastify from 'fastify'
import { authPlugin, createPGlitePool } from '../dist/lib/index.js'
import { percentile } from './common.mjs'

const TOKENS = 1000
const REPLY = { header () {}, raw: { writableEnded: false } }
const CALLS = 200_000
const ROUNDS = 15

const { PGlite } = await import('@electric-sql/pglite')
const app = Fastify()
await app.register(authPlugin, { database: createPGlitePool(await PGlite.create()), autoMigrate: true, token: { maxPerUser: TOKENS } })
await app.ready()
const { id } = await app.tokenAuth.createUser({ username: 'ann', password: null })
const tokens = []
for (let i = 0; i < TOKENS; i++) tokens.push((await app.tokenAuth.issueToken(id)).token)
const requests = tokens.map((token) => requestOf(token))
for (const request of requests) await app.authenticate(request, REPLY)

function requestOf (token) {
  const authorization = `Bearer ${token}`
  return { raw: { headers: { authorization }, rawHeaders: ['Host', 'localhost', 'Authorization', authorization] }, user: null, auth: null }
}

const map = new Map(tokens.map((token) => [hash('sha256', token, 'base64url'), token]))
let sum = 0
const WAYS = {
  'SHA-256 and Map' (i) { if (map.get(hash('sha256', tokens[i], 'base64url')) !== undefined) sum++ },
  'authenticate, a hit in memory' (i) { app.authenticate(requests[i], REPLY, (error) => { if (error === undefined) sum++ }) }
}

function time (way) {
  const startedAt = process.hrtime.bigint()
  for (let i = 0; i < CALLS; i++) way(i % TOKENS)
  return Number(process.hrtime.bigint() - startedAt) / CALLS
}

const times = Object.fromEntries(Object.keys(WAYS).map((name) => [name, []]))
for (let round = 0; round <= ROUNDS; round++) {
  for (const [name, way] of Object.entries(WAYS)) {
    const ns = time(way)
    // The first round is for the compiler.
    if (round > 0) times[name].push(ns)
  }
}
if (sum !== 2 * CALLS * (ROUNDS + 1)) throw new Error('a request was refused')
const [base] = Object.values(times).map((list) => percentile(list, 0.5))
console.table(Object.fromEntries(Object.entries(times).map(([name, list]) => {
  const median = percentile(list, 0.5)
  return [name, { 'ns, median': Math.round(median), min: Math.round(Math.min(...list)), ratio: (median / base).toFixed(2) }]
})))
await app.close()
