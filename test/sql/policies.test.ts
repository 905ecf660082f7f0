import t from 'tap'
import type { Test } from 'tap'
import { createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createDatabase, query } from '../helpers/services.js'

const database = await createDatabase()
t.teardown(database.drop)
const role = `r_${database.url.slice(-12)}`
// Creates the tables.
await createApp(t, testOptions(database.url))
await query(`create role ${role}; grant all on all tables in schema public to ${role};
  alter table users enable row level security; create policy owner_only on users using (username = current_setting('app.name'))`, database.url)
t.teardown(() => query(`drop owned by ${role}; drop role ${role}`, database.url))

/** A server with a role that policies apply to, and its warnings. */
async function start (t: Test, settings = '') {
  const warnings: string[] = []
  const stream = { write: (line: string) => { warnings.push(JSON.parse(line).msg) } }
  const options = testOptions(database.url, { autoMigrate: false })
  const app = await createApp(t, { ...options, database: { ...options.database as object, options: `-c role=${role} ${settings}` } }, { server: { logger: { level: 'warn', stream } } })
  return { app, warnings }
}

t.test('a start warns of a policy that applies to the role, and not if there is none', async (t) => {
  const { warnings } = await start(t, '-c app.name=ann')
  t.equal(warnings.length, 1)
  t.match(warnings[0], /^row level security applies to this role on "users": users and tokens that a policy hides cannot log in or be revoked; use a role with BYPASSRLS/)
})

t.test('a login works under a policy that shows every row, as documented', async (t) => {
  await query(`create policy sees_all on users to ${role} using (true) with check (true)`, database.url)
  t.teardown(() => query('drop policy sees_all on users', database.url))
  const { app } = await start(t, '-c app.name=ann')
  t.ok(await login(app, (await createUser(app)).username))
})

t.test('a policy that fails stops the start with the reason, without the advice to migrate', async (t) => {
  const error = await start(t).then(() => null, (error) => error)
  t.match(error, { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /unrecognized configuration parameter "app\.name"$/ })
})
