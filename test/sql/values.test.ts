import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { caller, createApp, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase, query } from '../helpers/services.js'

const NEW_PASSWORD = 'another long password'
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const SELECTED = ['big', 'amount', 'born', 'met', 'seen', 'ratio', 'tags', 'extra', 'flag']
const VALUES = {
  big: '9007199254740993',
  amount: '1.50',
  born: '1975-05-11',
  met: '2026-01-02T03:04:05',
  seen: '2026-01-02T03:04:05.678Z',
  ratio: 0.25,
  tags: ['a', 'b'],
  extra: { n: 1 },
  flag: true
}

/** Creates a database with a users table that has a column of each kind, for a role with settings of its own. */
async function createHost (t: Test, idType: string): Promise<string> {
  const database = await createDatabase()
  t.teardown(database.drop)
  await query(`create domain long_number as bigint;
    create table users (id ${idType}, username text unique, password_hash text, active boolean default true, last_login timestamp,
      big long_number default 9007199254740993, amount numeric default 1.50, born date default '1975-05-11', met timestamp default '2026-01-02 03:04:05',
      seen timestamptz default '2026-01-02 03:04:05.678+00', ratio float8 default 0.25, tags text[] default '{a,b}', extra jsonb default '{"n": 1}', flag boolean default true);
    alter database ${new URL(database.url).pathname.slice(1)} set datestyle = 'German';
    alter database ${new URL(database.url).pathname.slice(1)} set timezone = 'America/New_York';
    alter database ${new URL(database.url).pathname.slice(1)} set bytea_output = 'escape';
    alter database ${new URL(database.url).pathname.slice(1)} set intervalstyle = 'iso_8601'`, database.url)
  return database.url
}

/** What a server answers and emits. Ids of sessions and tokens are left out. */
async function useServer (t: Test, url: string, database: unknown) {
  const ids: unknown[] = []
  const options = testOptions(url, { database: database as never, users: { table: 'users', select: SELECTED }, hooks: { onLogin: ({ userId }) => ids.push(userId) } })
  const [app, other] = [await createApp(t, options), await createApp(t, options)]
  const created = await app.tokenAuth.createUser({ username: 'Ann', password: PASSWORD, fields: { id: '7' } })
  const token = await login(app, 'Ann')
  const cold = (await caller(other)('GET', '/auth/me', { token })).json()
  const cached = (await caller(other)('GET', '/auth/me', { token })).json()
  const { sessions: [session] } = (await caller(app)('GET', '/auth/sessions', { token })).json()
  const [listed] = await app.tokenAuth.listSessions(created.id)
  const found = await app.tokenAuth.findUser('Ann')
  const changed = await caller(other)('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: NEW_PASSWORD } })
  const ended = (await caller(app)('GET', '/auth/me', { token })).statusCode
  const logout = (await caller(app)('POST', '/auth/logout', { token: changed.json().token })).statusCode
  const again = (await caller(other)('GET', '/auth/me', { token: changed.json().token })).statusCode
  const revoked = await login(app, 'Ann', NEW_PASSWORD).then(async () => await app.tokenAuth.revokeAll())
  const [{ age }] = await query("select abs(extract(epoch from (now() at time zone 'UTC') - last_login))::int::text as age from users", url)
  await app.tokenAuth.deleteUser(created.id)
  return { created, cold, cached, session, listed, found, changed: changed.json(), ended, logout, again, revoked, ids, age }
}

async function check (t: Test, url: string, database: unknown, id: string | number): Promise<void> {
  const { created, cold, cached, session, listed, found, changed, ended, logout, again, revoked, ids, age } = await useServer(t, url, database)
  const user = { id, username: 'Ann', ...VALUES }
  t.strictSame(created, user)
  t.strictSame(found, user)
  t.strictSame(cold.user, user, 'from PostgreSQL')
  t.strictSame(cached.user, user, 'from the cache')
  t.strictSame(changed.user, user)
  for (const name of ['createdAt', 'lastUsedAt', 'expiresAt']) {
    t.match(session[name], INSTANT, name)
    t.type((listed as any)[name], Date)
  }
  t.match(cold.session.expiresAt, INSTANT)
  t.match(changed.expiresAt, INSTANT)
  t.equal(cold.session.expiresAt, session.expiresAt)
  t.ok(Math.abs(Date.parse(session.createdAt) - Date.now()) < 600_000, 'and no zone has moved it')
  t.strictSame({ ended, logout, again, revoked }, { ended: 401, logout: 204, again: 401, revoked: 1 })
  t.strictSame([...new Set(ids)], [id], 'events have the id, too')
  t.ok(Number(age) < 600, 'last_login without a zone is in UTC')
}

t.test('ids of each type and columns of each kind are as documented, whatever the DateStyle and the zone of the role', async (t) => {
  for (const [idType, id] of [['int primary key', 7], ['bigint primary key', '7'], ['text primary key', '7'], ['long_number primary key', '7']] as const) {
    await t.test(idType, async (t) => {
      const url = await createHost(t, idType)
      await check(t, url, { connectionString: url }, id)
    })
  }
})

t.test('parsers that the host has set for types of PostgreSQL change nothing', async (t) => {
  const url = await createHost(t, 'bigint primary key')
  const { types } = pg
  const before = new Map(Object.values(types.builtins).map((oid) => [oid, types.getTypeParser(oid as never)]))
  t.teardown(() => { for (const [oid, parser] of before) types.setTypeParser(oid as never, parser as never) })
  // The text itself is what everybody needs; the rest is at the host's choice.
  const oids = [...before.keys(), 1009, 1000, 1005, 1016, 1115, 1182, 1185, 2951].filter((oid) => oid !== types.builtins.TEXT && oid !== types.builtins.VARCHAR)
  for (const oid of oids) types.setTypeParser(oid as never, ((text: string) => ({ mine: text })) as never)
  await t.test('own pool', async (t) => await check(t, url, { connectionString: url }, '7'))
  await t.test('the host\'s Kysely', async (t) => {
    const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url }) }) })
    t.teardown(() => db.destroy())
    await check(t, url, db, '7')
  })
})
