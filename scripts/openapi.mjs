#!/usr/bin/env node
// Usage: node scripts/openapi.mjs <out.json>
// Writes the OpenAPI document of what `fastify-token-auth serve` serves. Needs dist/, and no server.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely'
import { createServer } from '../dist/lib/cli/server.js'

const [out] = process.argv.slice(2)
if (out === undefined) {
  console.error('usage: node scripts/openapi.mjs <out.json>')
  process.exit(2)
}

// It answers every statement with no rows, but for the servers' secret: that is all that the start asks for.
class EmptyDatabase extends DummyDriver {
  async acquireConnection () {
    const connection = await super.acquireConnection()
    return { ...connection, executeQuery: async ({ sql }) => ({ rows: /_secret"/.test(sql) ? [{ value: Buffer.alloc(32) }] : [] }) }
  }
}

const database = new Kysely({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new EmptyDatabase(),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler()
  }
})

const app = await createServer({ auth: { database }, trustProxy: false, logLevel: 'warn', logs: process.stderr })
mkdirSync(dirname(out), { recursive: true })
writeFileSync(out, JSON.stringify(app.swagger(), null, 2) + '\n')
await app.close()
