import { PGlite } from '@electric-sql/pglite'
import Fastify from 'fastify'
import { Kysely, Migrator, PostgresDialect, sql } from 'kysely'
import type { Migration } from 'kysely'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { authPlugin, createPGlitePool, migrations } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { readTableMap } from '../../lib/options/read.js'
import { migrateDown, migrateUp, migrationStatus, printMigrations } from '../../lib/sql/migrations/index.js'
import { openMigrator } from '../../lib/sql/migrations/kysely-migrator.js'
import { createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createDatabase, query } from '../helpers/services.js'
import { countingPool } from '../helpers/pools.js'

type Mapping = Pick<AuthPluginOptions, 'users' | 'token'>

const USERS = '0001_token_auth_users'
const TOKENS = '0002_token_auth_tokens'
const SECRET = '0003_token_auth_server_key'
const ALL = [USERS, TOKENS, SECRET]
const OWN = readTableMap({})

function open (t: Test, connectionString: string): Kysely<any> {
  const pool = new pg.Pool({ connectionString })
  pool.on('error', () => {})
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  t.teardown(() => db.destroy())
  return db
}

async function openEmpty (t: Test): Promise<Kysely<any> & { url: string }> {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  return Object.assign(open(t, url), { url })
}

/** Every column, constraint and index, except those of Kysely's own tables. */
async function describe (db: Kysely<any>): Promise<unknown[][]> {
  const own = sql`not in ('pg_catalog', 'information_schema', 'pg_toast')`
  const queries = [
    sql`select table_schema, table_name, column_name, data_type, udt_name, is_nullable, column_default from information_schema.columns
      where table_schema ${own} and table_name not like '%migration%' order by 1, 2, ordinal_position`,
    sql`select connamespace::regnamespace::text, conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
      where connamespace::regnamespace::text ${own} and conrelid::regclass::text not like '%migration%' order by 1, 2, 3`,
    sql`select schemaname, tablename, indexname, indexdef from pg_indexes
      where schemaname ${own} and tablename not like '%migration%' order by 1, 2, 3`
  ]
  return await Promise.all(queries.map(async (query) => (await query.execute(db)).rows))
}

async function execute (db: Kysely<any>, statements: string[]): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

t.test('migrating twice does nothing the second time', async (t) => {
  const db = await openEmpty(t)
  t.same(await migrateUp(db, OWN), ALL)
  const before = await describe(db)
  t.same(await migrateUp(db, OWN), [])
  t.same(await describe(db), before)
})

t.test('processes that migrate concurrently apply each migration once', async (t) => {
  for (const mapping of [{}, { users: { schema: 'auth' }, token: { schema: 'auth' } }]) {
    const { url } = await openEmpty(t)
    const map = readTableMap(mapping)
    const applied = await Promise.all(Array.from({ length: 4 }, () => migrateUp(open(t, url), map)))
    t.same(applied.flat().sort(), ALL)
  }
})

t.test('each step down reverts one migration, and up applies it again', async (t) => {
  const db = await openEmpty(t)
  await migrateUp(db, OWN)
  const made = await describe(db)
  t.same(await migrateDown(db, OWN), [SECRET])
  t.same(await migrateUp(db, OWN), [SECRET])
  t.same(await migrateDown(db, OWN), [SECRET])
  t.same(await migrateDown(db, OWN), [TOKENS])
  t.same(await migrateDown(db, OWN), [USERS])
  t.same(await migrateDown(db, OWN), [])
  t.same(await describe(db), [[], [], []])
  await migrateUp(db, OWN)
  t.same(await describe(db), made)
})

t.test('the status lists which migrations are applied and when', async (t) => {
  const db = await openEmpty(t)
  const status = async () => (await migrationStatus(db, OWN)).map(({ name, executedAt }) => [name, executedAt instanceof Date])
  t.same(await status(), [[USERS, false], [TOKENS, false], [SECRET, false]])
  await migrateUp(db, OWN)
  t.same(await status(), [[USERS, true], [TOKENS, true], [SECRET, true]])
  await migrateDown(db, OWN)
  t.same(await status(), [[USERS, true], [TOKENS, true], [SECRET, false]])
})

t.test('the database creates the server key once, and each database has a different one', async (t) => {
  const databases = await Promise.all([openEmpty(t), openEmpty(t), openEmpty(t)])
  const [migrated, again, printed] = databases as [Kysely<any>, Kysely<any>, Kysely<any>]
  for (const db of [migrated, again]) await migrateUp(db, OWN)
  await execute(printed, await printMigrations(OWN, 'up'))
  const read = async (db: Kysely<any>) => (await sql<{ value: Buffer }>`select value from auth_tokens_server_key`.execute(db)).rows.map(({ value }) => value.toString('hex'))
  const secrets = (await Promise.all(databases.map(read))).flat()
  t.equal(new Set(secrets).size, 3)
  t.ok(secrets.every((secret) => /^[0-9a-f]{64}$/.test(secret)))
  await migrateUp(migrated, OWN)
  t.same(await read(migrated), [secrets[0]])
  for (const row of ['(sha256(\'a\'))', '(\'short\')']) await t.rejects(execute(migrated, [`insert into auth_tokens_server_key (value) values ${row}`]), { code: /^23505|23514$/ })
  await t.rejects(execute(migrated, ['insert into auth_tokens_server_key (id, value) values (false, sha256(\'a\'))']), { code: '23514' }, 'the table has one row')
})

t.test('the embedded database creates the server key too', async (t) => {
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool: createPGlitePool(new PGlite()) }) })
  t.teardown(() => db.destroy())
  await migrateUp(db, OWN)
  const { rows } = await sql<{ value: Uint8Array }>`select value from auth_tokens_server_key`.execute(db)
  t.same(rows.map(({ value }) => value.length), [32])
})

t.test('a migration that fails changes nothing', async (t) => {
  const db = await openEmpty(t)
  await execute(db, ['create table members (id uuid primary key)'])
  const before = await describe(db)
  const map = readTableMap({ users: { table: 'members', idType: 'integer' } })
  await t.rejects(migrateUp(db, map), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /^No foreign key can refer to the column "id" of the users table "members": .* cannot be implemented/ })
  t.same(await describe(db), before)
})

t.test('a host\'s own Migrator gets an error that names a missing users table, whether the type of its ids is given or not', async (t) => {
  const db = await openEmpty(t)
  const provider = (idType?: 'uuid') => ({ getMigrations: async () => migrations({ users: { table: 'people', ...(idType && { idType }) } }) })
  const error = async (idType?: 'uuid') => (await new Migrator({ db, provider: provider(idType) }).migrateToLatest()).error
  t.match(await error(), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: 'The users table "people" is not in the database' })
  t.match(await error('uuid'), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: 'No foreign key can refer to the column "id" of the users table "people": relation "people" does not exist' })
})

t.test('an error names a users table that no foreign key can refer to, and the reason', async (t) => {
  const TABLES = {
    'create table members (tenant integer, id integer, primary key (tenant, id))': /no unique constraint matching given keys/,
    'create table members (tenant integer, id integer, primary key (tenant, id)) partition by hash (tenant)': /no unique constraint matching given keys/,
    'create view members as select 1 as id': /"members" is not a table/
  }
  for (const [table, reason] of Object.entries(TABLES)) {
    const db = await openEmpty(t)
    await execute(db, [table])
    const error = await migrateUp(db, readTableMap({ users: { table: 'members' } })).catch((error) => error)
    t.match(error, { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /^No foreign key can refer to the column "id" of the users table "members": / }, table)
    t.match(error.message, reason)
    t.match(error.message, /It must be the primary key of a table, or have a unique constraint of its own/)
  }
})

t.test('any other error of the migration is passed on unchanged', async (t) => {
  const db = await openEmpty(t)
  await execute(db, ['create table members (id uuid primary key)', 'create function no() returns event_trigger language plpgsql as $$ begin raise exception \'no tables now\'; end $$',
    'create event trigger no on ddl_command_end when tag in (\'CREATE TABLE\') execute function no()'])
  await t.rejects(migrateUp(db, readTableMap({ users: { table: 'members' } })), { code: 'P0001', message: 'no tables now' })
})

t.test('the foreign key has the type of the host\'s id, whether set or read from the database', async (t) => {
  for (const [idType, sqlType] of [['integer', 'integer'], ['bigint', 'bigint'], ['uuid', 'uuid'], ['text', 'text'], [undefined, 'character varying']] as const) {
    const db = await openEmpty(t)
    await execute(db, [`create table members (id ${idType ?? 'varchar(40)'} primary key)`])
    await migrateUp(db, readTableMap({ users: { table: 'members', ...(idType === undefined ? {} : { idType }) } }))
    const [columns] = await describe(db)
    t.match(columns?.find((column) => (column as { column_name: string }).column_name === 'user_id'), { data_type: sqlType })
  }
})

t.test('the Migrator is taken from its own entry where the root of kysely has none, as in 0.29', async (t) => {
  // The installed 0.28 has no such entry. `npm run test:runtimes` migrates with 0.29.
  await t.rejects(openMigrator({} as never, {}), { code: 'ERR_PACKAGE_PATH_NOT_EXPORTED' })
})

t.test('each schema selected by search_path is migrated separately', async (t) => {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  await query('create schema tenant1; create schema tenant2', url)
  for (const tenant of ['tenant1', 'tenant2']) {
    const db = open(t, `${url}?options=-c%20search_path%3D${tenant}`)
    t.same(await migrateUp(db, OWN), ALL, tenant)
    t.same(await migrateUp(db, OWN), [], tenant)
  }
  t.match(await query('select count(*)::int as tables from information_schema.tables where table_name = \'auth_tokens\'', url), [{ tables: 2 }])
  const nowhere = open(t, `${url}?options=-c%20search_path%3Dmissing`)
  await t.rejects(migrateUp(nowhere, OWN), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /^No schema of the search_path exists/ })
})

t.test('the plugin\'s users table can be mapped later, and is then never dropped', async (t) => {
  const db = await openEmpty(t)
  await migrateUp(db, OWN)
  await execute(db, ['alter table users add column verified_at timestamptz'])
  const mapped = readTableMap({ users: { activeWhen: 'active and verified_at is not null', columns: { lastLogin: null } } })
  t.same(await migrateUp(db, mapped), [])
  t.same((await migrationStatus(db, mapped)).map(({ name, executedAt }) => [name, executedAt instanceof Date]), ALL.map((name) => [name, true]))
  t.same([await migrateDown(db, mapped), await migrateDown(db, mapped)], [[SECRET], [TOKENS]])
  await t.rejects(migrateDown(db, mapped), { code: 'FST_TOKEN_AUTH_UNSUPPORTED', message: /it is not dropped/ })
  t.same(await migrateUp(db, mapped), [TOKENS, SECRET])
})

t.test('options that map nothing keep the plugin\'s users table', (t) => {
  const kept: Mapping[] = [{}, { users: {} }, { users: { activeWhen: null } }, { users: { columns: {} } }, { users: { select: ['created_at'] } }]
  for (const options of kept) t.ok(readTableMap(options).users.isOwn, JSON.stringify(options))
  for (const users of [{ table: 'users' }, { columns: { id: 'id' } }, { activeWhen: 'active' }]) t.notOk(readTableMap({ users }).users.isOwn, JSON.stringify(users))
  t.end()
})

t.test('printed statements', async (t) => {
  const MAPPINGS: [string, Mapping, string[]][] = [
    ['for tables of its own', {}, []],
    ['for tables of its own in schemas', { users: { schema: 'people "x"' }, token: { schema: 'auth', table: 'API "tokens"' } }, []],
    ['for a users table of the host', { users: { table: 'members', columns: { id: 'no' }, idType: 'bigint' } }, ['create table members (no bigint primary key)']]
  ]
  for (const [name, mapping, tables] of MAPPINGS) {
    t.test(`${name} create what migrating creates, and revert it`, async (t) => {
      const map = readTableMap(mapping)
      const [migrated, printed] = await Promise.all([openEmpty(t), openEmpty(t)])
      for (const db of [migrated, printed]) await execute(db, tables)
      const empty = await describe(printed)
      await migrateUp(migrated, map)
      await execute(printed, await printMigrations(map, 'up'))
      t.notSame(await describe(migrated), empty)
      t.same(await describe(printed), await describe(migrated))
      await execute(printed, await printMigrations(map, 'down'))
      t.same(await describe(printed), empty)
    })
  }

  t.test('never execute SQL that is inside a name', async (t) => {
    const names = ['a $fta$ end $fta$; drop table victim; --', 'a $fta$, $fta1$, $fta2$ and $$', "it's \\', null)); drop table victim; --", 'two\nlines; drop table victim;', '$fta', ':name \\! true']
    for (const setting of ['on', 'off']) {
      for (const schema of names) {
        const db = await openEmpty(t)
        const statements = await printMigrations(readTableMap({ users: { schema }, token: { schema } }), 'up')
        await execute(db, [`create table victim (); set standard_conforming_strings = ${setting}; ${statements.join('; ')}`])
        const { rows } = await sql`select nspname as name, to_regclass('victim') is not null as spared from pg_namespace where nspname = ${schema}`.execute(db)
        t.same(rows, [{ name: schema, spared: true }], `${schema}, standard_conforming_strings ${setting}`)
      }
    }
  })

  t.test('require the type of the host\'s ids', async (t) => {
    const map = readTableMap({ users: { table: 'members' } })
    await t.rejects(printMigrations(map, 'up'), { code: 'FST_TOKEN_AUTH_MISSING_TABLES', message: /set users\.idType if there is no database to read it from$/ })
  })

  t.test('create a schema only if it is missing, so that the privilege to create one is not needed', async (t) => {
    const db = await openEmpty(t)
    const role = `fta_role_${process.pid}`
    await execute(db, ['create schema auth', `create role ${role}`, `grant usage, create on schema auth, public to ${role}`, `set role ${role}`])
    t.teardown(() => execute(db, ['reset role', `drop owned by ${role}`, `drop role ${role}`]))
    await execute(db, await printMigrations(readTableMap({ users: { schema: 'auth' }, token: { schema: 'auth' } }), 'up'))
    t.ok((await describe(db))[0]?.length)
  })
})

t.test('a host\'s own Migrator runs the plugin\'s migrations among its own', async (t) => {
  const { url } = await openEmpty(t)
  const db = open(t, url)
  const own: Record<string, Migration> = {
    '0000_members': { up: async (db) => { await db.schema.createTable('members').addColumn('id', 'integer', (id) => id.primaryKey().generatedAlwaysAsIdentity()).addColumn('username', 'text').addColumn('password_hash', 'text').execute() } },
    '0003_orders': { up: async (db) => { await db.schema.createTable('orders').addColumn('token_id', 'uuid', (id) => id.references('auth_tokens.id')).execute() } }
  }
  const users = { table: 'members', columns: { active: null, lastLogin: null } }
  const provider = { getMigrations: async () => ({ ...own, ...migrations({ users }) }) }
  const { error, results } = await new Migrator({ db, provider }).migrateToLatest()
  t.equal(error, undefined)
  t.same(results?.map(({ migrationName, status }) => [migrationName, status]), ['0000_members', TOKENS, '0003_orders', SECRET].map((name) => [name, 'Success']))
  const app = await createApp(t, testOptions(url, { users, autoMigrate: false }))
  await login(app, (await createUser(app)).username)
})

t.test('migrations() takes the plugin\'s options and rejects the same values', async (t) => {
  t.same(Object.keys(migrations()), ALL)
  t.same(Object.keys(migrations({ token: { table: 'tokens' } })), ALL)
  t.same(Object.keys(migrations({ users: { table: 'members' } })), [TOKENS, SECRET])
  t.throws(() => migrations({ users: { table: '' } }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: 'users.table must be' })
  t.throws(() => migrations({ users: { tabel: 'x' } } as never), { message: 'Unknown option "users.tabel"' })
})

t.test('a start whose migration fails for another reason reports that reason', async (t) => {
  const own = await createDatabase()
  t.teardown(own.drop)
  const first = await createApp(t, testOptions(own.url))
  await first.close()
  const { pool } = countingPool(t, own.url)
  await pool.query('update auth_tokens_migration set name = \'9999_unknown\' where name like \'0002%\'')
  const host = Fastify()
  t.teardown(() => host.close())
  await t.rejects(async () => await host.register(authPlugin, testOptions(own.url)), { message: /corrupted migrations/ })
})
