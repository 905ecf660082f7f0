// Replaces psql in the guides, because embedded PostgreSQL does not include it: node run-sql.mjs <file>
import { readFileSync } from 'node:fs'
import pg from 'pg'

const client = new pg.Client(process.env.DATABASE_URL)
await client.connect()
await client.query(readFileSync(process.argv[2], 'utf8'))
await client.end()
