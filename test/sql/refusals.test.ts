import { Writable } from 'node:stream'
import t from 'tap'
import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../lib/index.js'
import { noRows } from '../../lib/sql/refusals.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { cli } from '../helpers/cli.js'
import { createDatabaseIn, freshDatabase, query } from '../helpers/services.js'

const NEW_PASSWORD = 'another long password'
const REFUSED = 'FST_TOKEN_AUTH_INVALID_INPUT'

async function open (t: Test, statements: string, options: Partial<AuthPluginOptions> = {}) {
  const url = await freshDatabase(t)
  const app = await createApp(t, testOptions(url, options))
  await query(statements, url)
  return { app, url, create: async (fields: Record<string, unknown>, username = 'ada') => await app.tokenAuth.createUser({ username, password: PASSWORD, fields }) }
}

t.test('a new user that the host\'s table refuses is a client error, and its cause names the constraint', async (t) => {
  const { create, url } = await open(t, `create table teams (id integer primary key); create type "Mood" as enum ('sweet');
    alter table users add email text unique, add team integer references teams, add age integer check (age > 17), add born date, add code varchar(3), add mood "Mood",
      add room int4range, add no integer generated always as identity, add constraint one_room exclude using gist (room with &&);
    create function no_bots() returns trigger language plpgsql as $$ begin if new.username = 'bot' then raise exception 'no %', new.username; end if;
        if new.username = 'cat' then perform new.username::date; end if; return new; end $$;
    create trigger no_bots before insert on users for each row execute function no_bots()`)
  await create({ email: 'a@example.com', room: '[1,5)' })
  const CASES: [Record<string, unknown>, string][] = [
    [{ email: 'a@example.com' }, 'the unique index "users_email_key" refuses a value'],
    [{ team: 7 }, 'the foreign key "users_team_fkey" refuses a value'],
    [{ age: 5 }, 'the check "users_age_check" refuses a value'],
    [{ active: null }, 'the column "active" must have a value'],
    [{ room: '[4,6)' }, 'the exclusion constraint "one_room" refuses a value'],
    [{ no: 5 }, 'cannot insert a non-DEFAULT value into column "no"'],
    [{ nope: 5 }, 'column "nope" of relation "users" does not exist']
  ]
  const refused = (message: string, cause: string) => ({ code: REFUSED, statusCode: 400, message, cause: { message: cause } })
  for (const [fields, reason] of CASES) await t.rejects(create(fields, 'eve'), refused(`createUser: ${reason}`, reason), JSON.stringify(fields))
  const VALUES: [Record<string, unknown>, string, string][] = [
    [{ born: 'some day' }, '"born" is not a valid date', 'the database refused the statement'],
    [{ age: 20, born: '2024-02-31' }, '"born" is not a valid date', 'the database refused the statement'],
    [{ age: 9_999_999_999 }, '"age" is not a valid integer', 'the database refused the statement'],
    [{ born: '2024-02-28', mood: 'sour' }, '"mood" is not a valid "Mood"', 'the database refused the statement'],
    [{ email: 'e@example.com', code: 'four' }, '"code" has more than 3 characters', 'a value is too long for its column']
  ]
  for (const [fields, problem, cause] of VALUES) await t.rejects(create(fields, 'eve'), refused(`createUser: the value for the column ${problem}`, cause), JSON.stringify(fields))
  await t.rejects(create({}, 'bot'), refused('createUser: a trigger refuses a value', 'a trigger refuses a value'))
  await t.rejects(create({}, 'cat'), refused('The database rejected a value: it is missing, out of range, or contains a character that cannot be stored', 'the database refused the statement'))
  await t.rejects(create({ username: 'eve' }), { code: REFUSED, message: 'createUser: fields must not have the column "username": use username' })
  await t.rejects(create({ password_hash: PASSWORD }), { code: REFUSED, message: 'createUser: fields must not have the column "password_hash": use password' })
  await t.resolves(create({}, 'eve'))
  await query('alter table users rename to gone', url)
  await t.rejects(create({}, 'fay'), { code: 'FST_TOKEN_AUTH_UNAVAILABLE' })
})

t.test('a username counts as taken if a unique index over it is violated, and not another index', async (t) => {
  const INDEXES = ['create unique index on users (lower(username))', 'create unique index on users (tenant, username)', 'create unique index on users (username) where tenant = 0']
  for (const index of INDEXES) {
    const { create } = await open(t, `alter table users drop constraint users_username_key, add tenant integer default 0; ${index}; create unique index one_tenant on users (tenant) where tenant = 9`)
    await create({})
    await t.rejects(create({}), { code: 'FST_TOKEN_AUTH_USERNAME_TAKEN', statusCode: 409 }, index)
    await create({ tenant: 9 }, 'bob')
    await t.rejects(create({ tenant: 9 }, 'carl'), { code: REFUSED, cause: { message: 'the unique index "one_tenant" refuses a value' } })
  }
})

t.test('a change that the host\'s table refuses is a client error, and changes nothing', async (t) => {
  const { app, url } = await open(t, `create table orders (user_id uuid references users on delete restrict);
    create function keep() returns trigger language plpgsql as $$ begin raise exception 'kept: %', old; end $$`)
  const call = caller(app)
  const { id, username } = await createUser(app)
  const token = await login(app, username)
  await query(`insert into orders values ('${id}')`, url)
  await t.rejects(app.tokenAuth.deleteUser(id), { code: REFUSED, cause: { message: 'the foreign key "orders_user_id_fkey" refuses a value' } })
  await query('delete from orders; create trigger keep before update of password_hash, active or delete on users for each row execute function keep()', url)
  for (const change of [() => app.tokenAuth.deleteUser(id), () => app.tokenAuth.setActive(id, false), () => app.tokenAuth.setPassword(id, NEW_PASSWORD)]) {
    await t.rejects(async () => { await change() }, { code: REFUSED, cause: { message: 'a trigger refuses a value' } }, String(change))
  }
  const reply = await call('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: NEW_PASSWORD } })
  t.match(reply.json(), { statusCode: 400, code: REFUSED })
  t.equal((await call('GET', '/auth/me', { token })).statusCode, 200, 'the session is still live')
})

t.test('in a database whose encoding lacks some characters', async (t) => {
  const warnings: string[] = []
  const stream = new Writable({ write (chunk, _encoding, done) { warnings.push(chunk.toString()); done() } })
  const { url, drop } = await createDatabaseIn('LATIN1')
  t.teardown(drop)
  const app = await createApp(t, testOptions(url), { server: { logger: { level: 'warn', stream } } })
  const call = caller(app)

  await t.test('the start logs a warning that names the encoding', async (t) => {
    t.match(warnings.join(''), /the database's encoding is LATIN1, not UTF8/)
    const utf8: string[] = []
    await createApp(t, testOptions(await freshDatabase(t)), { server: { logger: { level: 'warn', stream: new Writable({ write (chunk, _encoding, done) { utf8.push(chunk.toString()); done() } }) } } })
    t.notMatch(utf8.join(''), 'encoding')
  })

  await t.test('a username outside the encoding cannot be created, and its login is refused like an unknown one', async (t) => {
    await t.rejects(createUser(app, 'Ωmega'), { code: REFUSED, statusCode: 400, message: 'createUser: the value for the column "username" has a character that is not in the database\'s encoding', cause: { message: 'a character is not in the database\'s encoding' } })
    const body = (username: string) => ({ body: { username, password: PASSWORD } })
    const [unknown, outside] = [await call('POST', '/auth/login', body('nobody')), await call('POST', '/auth/login', body('Ωmega'))]
    t.equal(outside.statusCode, 401)
    t.equal(outside.body, unknown.body)
    for (let i = 0; i < 6; i++) await call('POST', '/auth/login', body('Ωmega'))
    t.equal((await call('POST', '/auth/login', body('Ωmega'))).statusCode, 429, 'its failed logins count')
    t.match(await cli(['revoke-user', 'Ωmega'], { env: { DATABASE_URL: url } }), { code: 1, err: /No such user/ })
  })

  await t.test('usernames within the encoding work', async (t) => {
    await createUser(app, 'Jürgen')
    t.ok(await login(app, 'Jürgen'))
  })
})

t.test('no other error is treated as an unknown username', async (t) => {
  const failure = Object.assign(new Error('no'), { code: '42703' })
  t.throws(() => noRows(failure), failure)
})

t.test('a User-Agent that the database\'s encoding cannot represent does not prevent a login', async (t) => {
  const { url, drop } = await createDatabaseIn('KOI8R')
  t.teardown(drop)
  const app = await createApp(t, testOptions(url))
  const { id, username } = await createUser(app)
  const reply = await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD }, headers: { 'user-agent': 'caf\xe9\x9b/1 (\t)' } })
  t.equal(reply.statusCode, 200)
  t.match(await app.tokenAuth.listSessions(id), [{ userAgent: 'caf??/1 (?)' }])
})
