import { randomBytes } from 'node:crypto'
import t from 'tap'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { freshDatabase, query } from '../helpers/services.js'
import { logTo } from '../helpers/start.js'

t.test('a function that another role has created changes nothing, and the start warns that it may create one', async (t) => {
  const url = await freshDatabase(t)
  const role = `other_${randomBytes(4).toString('hex')}`
  await query(`create role ${role} login; grant create on schema public to public`, url)
  t.teardown(() => query(`drop owned by ${role}; drop role ${role}`, url))
  const first = logTo()
  const app = await createApp(t, testOptions(url), { server: first.server })
  t.match(first.warnings(), [/^every role of the database may create functions in the schema public, .* run "revoke create on schema public from public"/])

  const [root, mallory] = [await createUser(app, 'root'), await createUser(app, 'mallory')]
  await query(`set role ${role};
    create function public.to_json(uuid) returns json language sql as $$ select pg_catalog.to_json('${root.id}'::text) $$;
    create function public.encode(bytea, varchar) returns text language sql as $$ select repeat('0', 64) $$;
    create function public.unnest(uuid[], float8[]) returns table (id uuid, age float8) language sql as $$ select '${root.id}'::uuid, 0::float8 $$`, url)
  const token = await login(app, mallory.username)
  for (let times = 0; times < 2; times++) t.same((await caller(app)('GET', '/auth/me', { token })).json().user, mallory)
  t.match((await caller(app)('GET', '/auth/sessions', { token })).json(), { sessions: [{ current: true }] })
  t.equal(await app.tokenAuth.revokeUser(mallory.id), 1)
  t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 401)

  await query('revoke create on schema public from public', url)
  const second = logTo()
  await createApp(t, testOptions(url), { server: second.server })
  t.same(second.warnings(), [])
})
