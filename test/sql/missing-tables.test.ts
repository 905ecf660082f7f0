import t from 'tap'
import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../lib/index.js'
import { createApp, testOptions } from '../helpers/app.js'
import { cli } from '../helpers/cli.js'
import { freshDatabase, query } from '../helpers/services.js'
import { refusal, roundTrip } from '../helpers/start.js'

const CODE = 'FST_TOKEN_AUTH_MISSING_TABLES'

async function databaseWith (t: Test, statements: string): Promise<string> {
  const url = await freshDatabase(t)
  await query(statements, url)
  return url
}

t.test('a table that these migrations have not created', async (t) => {
  t.test('in place of the users table stops the first start with advice, on the command line too', async (t) => {
    const url = await databaseWith(t, 'create table users (id serial primary key, email text unique, password text)')
    const advice = /^"users" exists already, .*map it with users\.table and users\.columns.*users\.schema$/
    t.match(await refusal(t, testOptions(url)), { code: CODE, message: advice })
    for (const command of [['migrate'], ['serve', '--port', '0', '--no-demo']]) {
      t.match(await cli(command, { env: { DATABASE_URL: url } }), { code: 1, err: /^fastify-token-auth: "users" exists already, .*users\.columns/ }, command.join(' '))
    }
  })

  t.test('is this package\'s own users table after another token.table or token.schema, and can be named', async (t) => {
    const url = await freshDatabase(t)
    await (await createApp(t, testOptions(url))).close()
    for (const token of [{ table: 'tok2' }, { schema: 'tnew' }]) {
      t.match(await refusal(t, testOptions(url, { token })), { code: CODE, message: /^"users" exists already, .*another token\.table or token\.schema, name it: users\.table: 'users'/ })
      await roundTrip(t, await createApp(t, testOptions(url, { token, users: { table: 'users' } })))
    }
  })

  t.test('has the name of a table or a type of this package', async (t) => {
    for (const name of ['auth_tokens', 'auth_tokens_caches', 'auth_tokens_server_key']) {
      const url = await databaseWith(t, `create table ${name} (id int)`)
      t.match(await refusal(t, testOptions(url)), { code: CODE, message: new RegExp(`^"${name}" exists already, .*migrate --sql.*token\\.table`) })
    }
    t.match(await refusal(t, testOptions(await databaseWith(t, "create type users as enum ('a')"))), { code: CODE, message: /^"users" exists already/ })
  })
})

t.test('a role without a right that migrations need is told which ones there are', async (t) => {
  const role = `fta_migrator_${process.pid}`
  const url = await databaseWith(t, `create role ${role} login superuser`)
  const as = new URL(url)
  as.username = role
  await query(`alter role ${role} nosuperuser`, url)
  t.teardown(() => query(`drop owned by ${role}; drop role ${role}`, url))
  const rights = /^This role may not migrate the database: permission denied for (schema public|table auth_tokens_migration\w*)\. It needs CREATE on the schema.*must own the tables/
  t.match(await refusal(t, testOptions(as.href)), { code: CODE, message: rights })
  t.match(await cli(['migrate'], { env: { DATABASE_URL: as.href } }), { code: 1, err: /permission denied for schema public\. It needs CREATE on the schema/ })
  await (await createApp(t, testOptions(url))).close()
  t.match(await refusal(t, testOptions(as.href)), { code: CODE, message: rights })
  const started = await refusal(t, testOptions(as.href, { autoMigrate: false }))
  t.match(started, { code: CODE, message: 'The users table is not as expected: permission denied for table users. Grant this role the rights in docs/storage.md#postgresql-grants' })
})

t.test('a users table that is not found', async (t) => {
  const url = await databaseWith(t, `create schema auth_app; create table auth_app.people (id int primary key, username text unique, password_hash text);
    create table "User" (id int primary key, username text unique, password_hash text); create table members (member_id int primary key)`)
  const refused = (users: AuthPluginOptions['users'], message: string) => t.test(JSON.stringify(users), async (t) => {
    for (const autoMigrate of [true, false]) {
      for (const idType of [undefined, 'integer'] as const) {
        t.match(await refusal(t, testOptions(url, { users: { ...users, ...(idType && { idType }) }, autoMigrate })), { code: CODE, message })
      }
    }
  })
  const missing = (name: string) => `The users table ${name} is not in the database: create it first, or correct users.table and users.schema`
  await refused({ table: 'customers' }, missing('"customers"'))
  await refused({ table: 'auth_app.people' }, `${missing('"auth_app.people"')}. A name contains no schema: set users.schema to 'auth_app' and users.table to 'people'`)
  await refused({ table: 'user' }, `${missing('"user"')}. Did you mean "User"?`)
  await refused({ schema: 'auth_app', table: 'People' }, `${missing('"auth_app"."People"')}. Did you mean "people"?`)
  await refused({ table: 'people' }, `${missing('"people"')}. Did you mean "auth_app"."people"? Its schema is the option users.schema`)
  await refused({ table: 'members' }, 'The users table "members" has no column "id": set users.columns.id to the column with its primary key')
})

t.test('another table that is not found is named like one that exists', async (t) => {
  const url = await databaseWith(t, 'create table "Users" (id int)')
  const refused = async (message: string, options: Partial<AuthPluginOptions> = {}) => t.match(await refusal(t, testOptions(url, { ...options, autoMigrate: false })), { code: CODE, message })
  await refused('with --users-table. Did you mean "Users"?')
  await (await createApp(t, testOptions(url))).close()
  await refused('with --users-table. Did you mean "auth_tokens"?', { token: { table: 'Auth_Tokens' } })
  await refused('The users table is not as expected: argument of AND must be type boolean, not type integer', { users: { table: 'users', activeWhen: 'active and 1' } })
  await query('drop table auth_tokens_caches', url)
  await refused('The caches table is not as expected: relation "auth_tokens_caches" does not exist. Run "npx fastify-token-auth migrate --up"')
})

t.test('migrate --status fails if the application\'s users table is not there', async (t) => {
  const url = await freshDatabase(t)
  await (await createApp(t, testOptions(url))).close()
  t.match(await cli(['migrate', '--status', '--users-table', 'members'], { env: { DATABASE_URL: url } }), { code: 1, out: '', err: /^fastify-token-auth: The users table "members" is not in the database/ })
  t.match(await cli(['migrate', '--status', '--users-table', 'users'], { env: { DATABASE_URL: url } }), { code: 0, out: /0003_token_auth_server_key {2}applied/ })
})
