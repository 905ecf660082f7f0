// With an existing users table: integer ids, its own column names, and a column that becomes a field of request.user.
//   DATABASE_URL=postgres://... node examples/own-users-table.mjs
import Fastify from 'fastify'
import authPlugin, { bcrypt, PreparedClient } from 'fastify-token-auth'
import pg from 'pg'

const { DATABASE_URL, PORT = '3000' } = process.env
// The settings that a pool of your own needs: see docs/options.md#database.
const pool = new pg.Pool({
  connectionString: DATABASE_URL,
  connectionTimeoutMillis: 2000,
  statement_timeout: 5000,
  lock_timeout: 2000,
  idle_in_transaction_session_timeout: 10_000,
  Client: PreparedClient
})
const hasher = bcrypt()

// Stands for the application's own table and users. The hashes may also come from other software that uses bcrypt.
await pool.query(`create table if not exists people (
  person_id integer generated always as identity primary key,
  email text not null unique,
  full_name text not null,
  password text,
  left_on date
)`)
await pool.query('insert into people (email, full_name, password) values ($1, $2, $3) on conflict do nothing',
  ['ann@example.com', 'Ann Example', await hasher.hash('correct horse battery')])

const app = Fastify({ logger: { level: 'warn' } })
// The plugin does not close a pool that you pass to it.
app.addHook('onClose', () => pool.end())

await app.register(authPlugin, {
  database: pool,
  hasher,
  users: {
    table: 'people',
    // null: the table has no such column.
    columns: { id: 'person_id', username: 'email', passwordHash: 'password', active: null, lastLogin: null },
    activeWhen: 'left_on is null',
    select: ['full_name']
  },
  // Creates only the tokens table.
  autoMigrate: true
})

app.get('/hello', { onRequest: app.authenticate }, async ({ user }) => ({ hello: user.full_name, id: user.id }))

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
console.log(`Listening on ${await app.listen({ port: Number(PORT) })}`)
