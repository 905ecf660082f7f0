// How fast a request is authenticated, compared with other ways: npm run bench [-- --rounds 5 --seconds 2 --only near,redis --json file]
import { writeFileSync } from 'node:fs'
import Fastify from 'fastify'
import { authPlugin } from '../dist/lib/index.js'
import { replaceInDocs, withDatabase } from './common.mjs'
import { drawChart } from './speed/chart.mjs'
import { readContestants } from './speed/contestants.mjs'
import { describeMachine, pin, splitCores } from './speed/machine.mjs'
import { readOptions } from './speed/options.mjs'
import { printRows, rowsOf, tableOf } from './speed/report.mjs'
import { measureRounds } from './speed/rounds.mjs'
import { createSampler } from './speed/sample.mjs'
import { startServer } from './speed/servers.mjs'
import { openServices } from './speed/services.mjs'

const CONNECTIONS = 64
const TOKENS = 10_000
/** Before each sample, and at most before the first one. */
const WARM_MS = 500
const WARM_UP_S = 8
/** More than a server looks up in PostgreSQL, with a token for each request. */
const MISSES_PER_S = 30_000

const options = readOptions(process.argv.slice(2))
await withDatabase(async (databaseUrl) => {
  const services = await openServices()
  const cores = splitCores()
  if (cores === null) tell('taskset or a second core is missing: nothing is pinned, and the figures say less')
  else pin(process.pid, cores.others)
  if (cores !== null) services.pin(cores.others)
  await createUser(databaseUrl)
  const servers = await startAll({ databaseUrl, cores })
  try {
    const result = await measure({ servers, services, cores })
    report({ ...result, machine: { ...describeMachine(), ...services.versions, isPinned: cores !== null } })
  } finally {
    services.close()
    await Promise.all(Object.values(servers).map(({ stop }) => stop()))
  }
})

async function createUser (databaseUrl) {
  const app = Fastify()
  await app.register(authPlugin, { database: { connectionString: databaseUrl }, autoMigrate: true })
  await app.tokenAuth.createUser({ username: 'alice', password: 'correct horse battery' })
  await app.close()
}

async function startAll ({ databaseUrl, cores }) {
  const servers = {}
  for (const contestant of readContestants(['bare', ...options.names])) {
    tell(`starting ${contestant.name}`)
    const tokens = contestant.once ? Math.ceil((options.seconds + WARM_MS / 1000) * MISSES_PER_S) : TOKENS
    servers[contestant.name] = await startServer(contestant, { tokens, cores: cores?.server ?? null, env: { DATABASE_URL: databaseUrl } })
  }
  return servers
}

async function measure ({ servers, services, cores }) {
  const settings = { services, cores, connections: CONNECTIONS, measureMs: options.seconds * 1000 }
  await warmUp(servers, createSampler({ ...settings, warmMs: 0, measureMs: 1000 }))
  const sample = createSampler({ ...settings, warmMs: WARM_MS })
  return await measureRounds({ names: options.names, rounds: options.rounds, sample: (name) => sample(servers[name]), onProgress: tell })
}

async function warmUp (servers, sample) {
  for (const [name, server] of Object.entries(servers)) {
    tell(`warming up ${name}`)
    for (let seconds = 0; seconds < WARM_UP_S && !server.isWarm(); seconds++) await sample(server)
  }
}

function report ({ samples, noise, machine }) {
  const about = { machine, noise, date: new Date().toISOString().slice(0, 10), rounds: options.rounds, seconds: options.seconds, connections: CONNECTIONS, tokens: TOKENS }
  const rows = rowsOf(samples)
  printRows(rows, about)
  if (options.json !== undefined) writeFileSync(options.json, JSON.stringify({ ...about, rows, samples }, null, 2))
  if (!options.writesDocs) return tell('docs/performance.md is not changed: it takes the figures of a run without --rounds, --seconds and --only')
  replaceInDocs('performance.md', 'bench', tableOf(rows, about))
  writeFileSync(new URL('../docs/performance.svg', import.meta.url), drawChart(rows, about))
  tell('docs/performance.md and docs/performance.svg have these figures now')
}

function tell (text) {
  console.error(`bench: ${text}`)
}
