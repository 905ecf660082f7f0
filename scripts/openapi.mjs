#!/usr/bin/env node
// Usage: node scripts/openapi.mjs <out.json>
// Writes the OpenAPI document of what `fastify-token-auth serve` serves. Needs dist/, and no server.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { createServer } from '../dist/lib/cli/server.js'
import { createPGlitePool } from '../dist/lib/index.js'

const [out] = process.argv.slice(2)
if (out === undefined) {
  console.error('usage: node scripts/openapi.mjs <out.json>')
  process.exit(2)
}

// Before Fastify counts the 10 s that it gives a plugin.
const pglite = await PGlite.create()
const auth = { database: createPGlitePool(pglite), autoMigrate: true }
const app = await createServer({ auth, trustProxy: false, logLevel: 'warn', logs: process.stderr })
mkdirSync(dirname(out), { recursive: true })
writeFileSync(out, JSON.stringify(app.swagger(), null, 2) + '\n')
await app.close()
await pglite.close()
