import t from 'tap'
import type { Test } from 'tap'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
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

t.test('a start warns of a policy that applies to the role, whatever functions others have created', async (t) => {
  await query('create function public.row_security_active(regclass) returns boolean language sql as $$ select false $$', database.url)
  t.teardown(() => query('drop function public.row_security_active(regclass)', database.url))
  const { warnings } = await start(t, '-c app.name=ann')
  t.equal(warnings.length, 1)
  t.match(warnings[0], /^row level security applies to this role on "users": what a policy hides cannot log in, be revoked, or be notified of a revocation; use a role with BYPASSRLS/)
})

t.test('a login works under a policy that shows every row, as documented', async (t) => {
  await query(`create policy sees_all on users to ${role} using (true) with check (true)`, database.url)
  t.teardown(() => query('drop policy sees_all on users', database.url))
  const { app } = await start(t, '-c app.name=ann')
  t.ok(await login(app, (await createUser(app)).username))
})

t.test('a token that a policy lets the role read but not change is not reported as ended', async (t) => {
  await query(`create policy sees_all on users to ${role} using (true) with check (true);
    alter table auth_tokens enable row level security;
    create policy reads on auth_tokens for select to ${role} using (true); create policy adds on auth_tokens for insert to ${role} with check (true)`, database.url)
  t.teardown(() => query('drop policy sees_all on users; alter table auth_tokens disable row level security', database.url))
  const { app, warnings } = await start(t, '-c app.name=ann')
  t.equal(warnings.length, 2)
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  const sessionId = (await app.tokenAuth.listSessions(id))[0]!.id
  const call = caller(app)
  for (const url of ['/auth/logout', '/auth/logout-all']) {
    const reply = await call('POST', url, { token })
    t.match(reply.json(), { statusCode: 503, code: 'FST_TOKEN_AUTH_UNAVAILABLE' }, url)
  }
  t.equal((await call('DELETE', `/auth/sessions/${sessionId}`, { token })).statusCode, 503)
  const { tokenAuth } = app
  const ends: (() => Promise<unknown>)[] = [() => tokenAuth.revokeUser(id), () => tokenAuth.revokeToken(token), () => tokenAuth.setPassword(id, 'another horse battery'), () => tokenAuth.setActive(id, false), () => tokenAuth.deleteUser(id)]
  for (const end of ends) {
    await t.rejects(end(), { code: 'FST_TOKEN_AUTH_UNAVAILABLE', cause: { message: /^a policy \(row level security\) lets this role read tokens that it may not update/ } })
  }
  t.equal((await call('GET', '/protected', { token })).statusCode, 200)
  t.ok(await login(app, username), 'the account is unchanged')

  await query(`create policy changes on auth_tokens for update to ${role} using (true)`, database.url)
  t.equal((await call('POST', '/auth/logout-all', { token })).statusCode, 204)
  t.equal((await call('GET', '/protected', { token })).statusCode, 401)
  t.equal((await call('POST', '/auth/logout', { token: 'fta_unknown' })).statusCode, 401)
})

t.test('a policy that fails stops the start with the reason, without the advice to migrate', async (t) => {
  const error = await start(t).then(() => null, (error) => error)
  t.match(error, { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /unrecognized configuration parameter "app\.name"$/ })
})
