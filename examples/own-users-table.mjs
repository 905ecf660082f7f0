// Over a users table that is there already: integer ids, names of its own, and a column that request.user gets.
//   DATABASE_URL=postgres://... node examples/own-users-table.mjs
import Fastify from 'fastify'
import authPlugin, { bcrypt } from 'fastify-token-auth'
import pg from 'pg'

const { DATABASE_URL, PORT = '3000' } = process.env
const pool = new pg.Pool({ connectionString: DATABASE_URL })
const hasher = bcrypt()

// Stands for the application's own table and people. Passwords may also be hashed by other software with bcrypt.
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
// The plugin closes no pool that it is given.
app.addHook('onClose', () => pool.end())

await app.register(authPlugin, {
  database: pool,
  hasher,
  users: {
    table: 'people',
    // null: there is no such column.
    columns: { id: 'person_id', username: 'email', passwordHash: 'password', active: null, lastLogin: null },
    activeWhen: 'left_on is null',
    select: ['full_name']
  },
  // Makes the table of tokens only.
  autoMigrate: true
})

app.get('/hello', { onRequest: app.authenticate }, async ({ user }) => ({ hello: user.full_name, id: user.id }))

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
console.log(`Listening on ${await app.listen({ port: Number(PORT) })}`)
