// What things cost with many sessions: npm run bench:scale [-- --sizes 10000,100000,1000000 --json file]
import { writeFileSync } from 'node:fs'
import Fastify from 'fastify'
import { authPlugin, bcrypt } from '../dist/lib/index.js'
import { replaceInDocs, withDatabase } from './common.mjs'
import { measureCosts } from './scale/costs.mjs'
import { readOptions } from './scale/options.mjs'
import { compareProcesses } from './scale/processes.mjs'
import { printAll, textOf } from './scale/report.mjs'
import { addSessions, sizesOf } from './scale/sessions.mjs'
import { describeMachine } from './speed/machine.mjs'
import { openServices } from './speed/services.mjs'

/** The code is compiled in a run that is thrown away: otherwise the first size would look expensive. */
const WARM_UP = 1000

const options = readOptions(process.argv.slice(2))
const services = await openServices()
const results = []
for (const size of [WARM_UP, ...options.sizes]) {
  tell(size === WARM_UP ? 'warming up' : `${size.toLocaleString('en-US')} sessions`)
  results.push(await measureSize(size))
}
tell('one server process and two')
const processes = await compareProcesses(tell)
services.close()
report({ sizes: results.slice(1), processes })

async function measureSize (size) {
  let result
  await withDatabase(async (databaseUrl) => {
    const namespace = `bench-scale-${size}:`
    const app = Fastify()
    await app.register(authPlugin, {
      database: { connectionString: databaseUrl, statement_timeout: 60_000 },
      redis: { url: process.env.REDIS_URL },
      cache: { namespace },
      lookup: { timeout: '20s' },
      // The cheapest: a login is then mostly what depends on the number of sessions.
      hasher: bcrypt({ cost: 4 }),
      rateLimit: false,
      accountLimit: false,
      autoMigrate: true
    })
    app.get('/me', { onRequest: app.authenticate }, async ({ user }) => ({ username: user.username }))
    await addSessions({ app, databaseUrl, size })
    const sizes = await sizesOf(databaseUrl)
    result = { size, ...sizes, ...await measureCosts({ app, services, databaseUrl, namespace, size }) }
    await app.close()
  })
  return result
}

function report ({ sizes, processes }) {
  const about = { machine: { ...describeMachine(), ...services.versions }, date: new Date().toISOString().slice(0, 10) }
  const all = { ...about, sizes, processes }
  printAll(all)
  if (options.json !== undefined) writeFileSync(options.json, JSON.stringify(all, null, 2))
  if (options.writesDocs) replaceInDocs('performance.md', 'scale', textOf(all))
  tell(options.writesDocs ? 'docs/performance.md has these figures now' : 'docs/performance.md is not changed: it takes the figures of a run without --sizes')
}

function tell (text) {
  console.error(`bench: ${text}`)
}
