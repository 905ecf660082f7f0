import { readFileSync } from 'node:fs'
import t, { test } from 'tap'
import { labelOfRedis } from '../../lib/cli/environment.js'
import { explainFailure } from '../../lib/cli/failure.js'
import { importPeer } from '../../lib/cli/packages.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { cli, spawnCli, spawnSource, start } from '../helpers/cli.js'
import { createDatabase, freshDatabase, query, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'

const { url: databaseUrl, drop } = await createDatabase()
t.teardown(drop)

const SERVERS = { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl() }
const NEW_PASSWORD = 'another long password'

test('--help lists commands and variables, and every command has its own', async (t) => {
  const { code, out } = await cli(['--help'])
  t.equal(code, 0)
  for (const word of ['DATABASE_URL', 'REDIS_URL', 'PORT', 'HOST', 'TOKEN_EXPIRY_IN_SECONDS', 'RECAPTCHA_KEY', 'TRUST_PROXY']) t.match(out, word)
  t.same(await cli(['help']), { code: 0, out, err: '' })
  for (const command of ['serve', 'migrate', 'create-user', 'set-password', 'revoke-user', 'revoke-all', 'prune']) {
    t.match(out, `  ${command} `)
    const help = await cli([command, '--help'])
    t.equal(help.code, 0)
    t.match(help.out, `Usage: fastify-token-auth ${command}`)
  }
})

test('--version prints the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  for (const flag of ['--version', '-v']) t.same(await cli([flag]), { code: 0, out: `${version}\n`, err: '' }, flag)
  t.same(await cli(['-h']), await cli(['--help']))
  t.same(await cli(['serve', '-h']), await cli(['serve', '--help']))
})

test('a command with invalid arguments exits with code 2 and a line that names the problem', async (t) => {
  const refused = async (args: string[], message: RegExp, env: Record<string, string> = {}) => {
    const { code, out, err } = await cli(args, { env })
    t.equal(code, 2, args.join(' '))
    t.equal(out, '')
    t.match(err, message)
    t.match(err, /^fastify-token-auth: [^\n]+\n$/, 'it is one line')
  }
  await refused([], /No command; commands are: serve, migrate/)
  await refused(['sevre'], /Unknown command "sevre"/)
  await refused(['serve', '--prot', '1'], /Unknown option --prot of serve/)
  await refused(['serve', '-x'], /Unknown option -x of serve/)
  await refused(['serve', '--port'], /--port <value>/)
  await refused(['serve', '--memory=yes'], /--memory/)
  await refused(['serve', '--port', '65536'], /--port must be an integer from 0 to 65535, got 65536/)
  await refused(['serve', '--host', 'a b'], /--host must be a host name or an address/)
  await refused(['serve', '--log-level', 'loud'], /--log-level must be 'trace' or/)
  await refused(['serve', 'now'], /serve takes no argument, got 1/)
  await refused(['serve', '--memory', '--data', 'x'], /--data and --memory exclude each other/)
  await refused(['serve', '--memory'], /--memory is for the embedded database, but DATABASE_URL is set/, SERVERS)
  await refused(['migrate', '--data', 'x'], /--data is for the embedded database/, SERVERS)
  await refused(['migrate', '--up', '--down'], /--up and --down exclude each other/)
  await refused(['migrate', '--status', '--sql'], /--sql can only be combined with --up or --down/)
  await refused(['migrate', '--down'], /--yes/, SERVERS)
  await refused(['migrate', '--sql', '--users-table', 'people'], /--id-type: uuid, integer, bigint or text/)
  await refused(['migrate', '--sql', '--id-type', 'int'], /--id-type must be 'uuid' or 'integer' or 'bigint' or 'text', got "int"/)
  await refused(['migrate', '--tokens-table', ''], /--tokens-table must be a name/)
  await refused(['prune', '--batch-size', '0'], /--batch-size must be an integer from 1/)
  await refused(['prune', '--batch-size', 'many'], /--batch-size must be an integer from 1 to 100000, got "many"/)
  await refused(['prune', '--retention', '1m'], /--retention must be a duration of at least 3600 s/)
  await refused(['create-user'], /create-user takes one argument, the username, got 0/)
  for (const set of ['Ann', '=Ann', '']) await refused(['create-user', 'ann', '--set', set], /--set must be <column>=<value>, such as --set display_name=Ann/)
})

test('a password as an argument is rejected, and not repeated', async (t) => {
  for (const args of [['create-user', 'ann', 'hunter2hunter2'], ['create-user', 'ann', '--password', 'hunter2hunter2'], ['set-password', 'ann', '--password=hunter2hunter2'], ['set-password', 'ann', '-phunter2hunter2']]) {
    const { code, err } = await cli(args, { env: SERVERS })
    t.equal(code, 2)
    t.notMatch(err, 'hunter2')
    t.match(err, /password is (refused|never)|Unknown option -p of/)
  }
})

test('a bad environment variable is rejected by name, without its secrets', async (t) => {
  const refused = async (name: string, value: string, message: RegExp) => {
    const { code, err } = await cli(['serve'], { env: { [name]: value } })
    t.equal(code, 2, `${name}=${value}`)
    t.match(err, message)
    t.notMatch(err, 'hunter2')
  }
  await refused('PORT', 'abc', /PORT must be an integer from 0 to 65535, got "abc"/)
  for (const name of ['PORT', 'HOST', 'RECAPTCHA_KEY', 'DATABASE_URL', 'REDIS_URL', 'TRUST_PROXY']) {
    await refused(name, '', new RegExp(`${name} is set but empty. Set a value, or unset the variable to get the default`))
  }
  await refused('PORT', '-1', /PORT must be/)
  await refused('HOST', 'http://localhost', /HOST must be a host name or an address, got "http:/)
  await refused('TOKEN_EXPIRY_IN_SECONDS', '59', /TOKEN_EXPIRY_IN_SECONDS must be an integer from 60/)
  await refused('TOKEN_EXPIRY_IN_SECONDS', '1e3', /TOKEN_EXPIRY_IN_SECONDS must be/)
  await refused('RECAPTCHA_KEY', 'hunter2 hunter2', /RECAPTCHA_KEY must be the secret key/)
  await refused('DATABASE_URL', 'mysql://u:hunter2@h/d', /DATABASE_URL must be a URL that begins with postgres:\/\/ or postgresql:\/\//)
  await refused('DATABASE_URL', 'postgres://u:hunter2@h:port/d', /percent-encoded/)
  await refused('DATABASE_URL', 'postgres://u:hunter2@h/%zz', /DATABASE_URL must be a URL .* percent-encoded/)
  await refused('DATABASE_URL', 'postgres://u:1/hunter2@h/d', /DATABASE_URL must be a URL .* percent-encoded/)
  await refused('REDIS_URL', 'redis://:hunter2%@h', /REDIS_URL must be a URL .* percent-encoded/)
  await refused('REDIS_URL', 'http://hunter2@h', /REDIS_URL must be a URL that begins with redis:\/\/ or rediss:\/\//)
  for (const value of ['yes', 'loopback', '10.0.0.0/33', '10.0.0.0/', '1.2.3', '::1/129', '10.0.0.0/8/8', '10.0.0.1,']) {
    await refused('TRUST_PROXY', value, /TRUST_PROXY must be false, true, or addresses and networks/)
  }
})

test('an unreachable database is reported in one line with its address', async (t) => {
  const refused = async (url: string, message: RegExp) => {
    for (const command of ['serve', 'migrate', 'prune']) {
      const { code, out, err } = await cli([command], { env: { DATABASE_URL: url } })
      t.equal(code, 1)
      t.equal(out, '')
      t.match(err, message)
      t.match(err, /^[^\n]+\n$/, 'it is one line')
      t.notMatch(err, 'hunter2')
    }
  }
  await refused('postgres://me:hunter2@127.0.0.1:1/shop', /PostgreSQL at 127\.0\.0\.1:1\/shop cannot be used: connect ECONNREFUSED/)
  await refused('postgresql:///shop?host=/nowhere', /PostgreSQL at \/nowhere:5432\/shop cannot be used: connect ENOENT/)
  const missing = new URL(databaseUrl)
  missing.pathname = '/no_such_database'
  await refused(missing.href, /database "no_such_database" does not exist/)
  const elsewhere = spawnSource(t, ['migrate'], { DATABASE_URL: 'postgres:///shop', PGHOST: '127.0.0.1', PGPORT: '1' })
  t.match(await elsewhere.result, { code: 1, err: 'PostgreSQL at 127.0.0.1:1/shop cannot be used: connect ECONNREFUSED' })
})

test('a Redis server is named only by its address', async (t) => {
  t.equal(labelOfRedis('rediss://me:hunter2@cache.example:6380/1'), 'Redis at cache.example:6380')
  t.equal(labelOfRedis('redis:///1'), 'Redis at localhost:6379')
})

test('a failure is reported in one line with its reason', async (t) => {
  const told = (fields: object, line: string) => t.strictSame(explainFailure(Object.assign(new Error('Failed'), fields)), { line, code: 1 })
  told({}, 'Failed')
  told({ cause: new Error('it is full') }, 'Failed (it is full)')
  told({ cause: Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }) }, 'Failed (ECONNREFUSED)')
  told({ syscall: 'listen', address: '127.0.0.1', port: 80, code: 'EINVAL' }, 'cannot listen on 127.0.0.1 port 80: EINVAL')
})

test('migrate applies migrations, shows their status and reverts them', async (t) => {
  const env = { DATABASE_URL: await freshDatabase(t) }
  const missing = await cli(['migrate', '--status'], { env })
  t.match(missing, { code: 0, out: /0001_token_auth_users {2}missing\n0002_token_auth_tokens {2}missing\n0003_token_auth_server_key {2}missing\n/ })
  t.same(await cli(['migrate', '--down', '--yes'], { env }), { code: 0, out: 'Nothing to revert: no migration is applied\n', err: '' })
  t.same(await cli(['migrate', '--up'], { env }), { code: 0, out: 'Applied 0001_token_auth_users\nApplied 0002_token_auth_tokens\nApplied 0003_token_auth_server_key\n', err: '' })
  t.same(await cli(['migrate'], { env }), { code: 0, out: 'Nothing to do: every migration is applied\n', err: '' })
  t.match((await cli(['migrate', '--status'], { env })).out, /0003_token_auth_server_key {2}applied \d{4}-/)
  t.same(await cli(['migrate', '--down', '--yes'], { env }), { code: 0, out: 'Reverted 0003_token_auth_server_key\n', err: '' })
  t.match((await cli(['migrate', '--status'], { env })).out, /0003_token_auth_server_key {2}missing/)
})

test('migrate --sql prints valid statements without a connection to a database', async (t) => {
  const up = await cli(['migrate', '--sql'], { env: { DATABASE_URL: 'postgres://127.0.0.1:1/none' } })
  const url = await freshDatabase(t)
  await query(up.out, url)
  t.strictSame(await query('select * from auth_tokens', url), [])
  const { out, code } = await cli(['migrate', '--sql', '--down'])
  t.equal(code, 0)
  await query(out, url)
  t.strictSame(await query("select to_regclass('auth_tokens') as gone", url), [{ gone: null }])
})

test('migrate maps a host\'s own users table', async (t) => {
  const url = await freshDatabase(t)
  await query('create schema app; create schema auth; create table app.people (nr bigint primary key)', url)
  const flags = ['--users-table', 'people', '--users-schema', 'app', '--id-column', 'nr', '--active-column', 'none', '--last-login-column', 'none', '--tokens-table', 'tokens', '--tokens-schema', 'auth']
  t.match(await cli(['migrate', ...flags], { env: { DATABASE_URL: url } }), { code: 0, out: 'Applied 0002_token_auth_tokens\nApplied 0003_token_auth_server_key\n' })
  const [column] = await query("select format_type(atttypid, null) as type from pg_attribute where attrelid = 'auth.tokens'::regclass and attname = 'user_id'", url)
  t.same(column, { type: 'bigint' })
  t.match((await cli(['migrate', '--sql', '--id-type', 'integer', ...flags])).out, 'user_id integer references "app"."people" ("nr")')
})

test('control characters in a name are escaped in the terminal', async (t) => {
  const name = 'eve\x1b[2K\r\nCreated ann\x9b31m\u2028\u2029\u202e\u2066\x7f'
  const shown = 'eve\\u001b[2K\\u000d\\u000aCreated ann\\u009b31m\\u2028\\u2029\\u202e\\u2066\\u007f'
  const url = await freshDatabase(t)
  const env = { DATABASE_URL: url, REDIS_URL: redisUrl() }
  const says = async (args: string[], line: string, more: object = {}) => {
    const { out, err } = await cli(args, { env, ...more })
    t.match(out + err, line)
    t.notMatch(out + err, /[^\n\P{Cc}]|[\u2028\u2029\u202e\u2066]/u)
    t.match(out + err, /^[^\n]*\n$/, 'it is one line')
  }
  await cli(['migrate'], { env })
  await says(['create-user', name], `Created ${shown}, id `, { stdin: PASSWORD })
  await says(['set-password', name], `Set the password of ${shown};`, { stdin: NEW_PASSWORD })
  await says(['revoke-user', name], `Ended 0 sessions of ${shown}`)
  await says(['migrate', '--data', `package.json/${name}`], shown, { env: {} })
  await says(['serve', `--${name}`], 'eve\\u001b[2K')
  await says(['revoke-user', 'ann', '--users-table', name], `"${shown}"`)
  await says([name], 'Unknown command "eve')
  await says(['migrate'], shown, { env: { DATABASE_URL: new URL(encodeURIComponent(name), url).href } })
  for (const flag of ['--users-schema', '--tokens-table']) await says(['migrate', '--sql', flag, name], `--sql cannot print control characters, and ${flag} contains one`)
})

test('two processes may migrate concurrently', async (t) => {
  const env = { DATABASE_URL: await freshDatabase(t) }
  const results = await Promise.all([spawnCli(t, ['migrate'], env).result, spawnCli(t, ['migrate'], env).result])
  t.strictSame(results.map(({ code, err }) => ({ code, err })), [{ code: 0, err: '' }, { code: 0, err: '' }])
  t.strictSame(results.map(({ out }) => out).sort(), ['Applied 0001_token_auth_users\nApplied 0002_token_auth_tokens\nApplied 0003_token_auth_server_key\n', 'Nothing to do: every migration is applied\n'])
})

test('commands create users, set passwords and end sessions', async (t) => {
  const namespace = uniqueNamespace()
  const app = await createApp(t, testOptions(databaseUrl, { cache: { namespace } }))
  const call = caller(app)

  await t.test('create-user reads the password from the first line of stdin', async (t) => {
    t.match(await cli(['create-user', 'ann'], { env: SERVERS, stdin: `${PASSWORD}\r\nsecond line\n` }), { code: 0, out: /^Created ann, id [0-9a-f-]{36}\n$/, err: '' })
    t.ok(await login(app, 'ann'))
    t.match(await cli(['create-user', 'ann'], { env: SERVERS, stdin: PASSWORD }), { code: 1, err: 'fastify-token-auth: The username is taken\n' })
    t.match(await cli(['create-user', 'amy', '--set', 'active=false', '--set', 'last_login=2026-01-02 03:04+00'], { env: SERVERS, stdin: PASSWORD }), { code: 0, err: '' })
    t.same(await query('select active, last_login from users where username = \'amy\'', databaseUrl), [{ active: false, last_login: new Date('2026-01-02T03:04Z') }])
    t.match(await cli(['create-user', 'bob', '--set', 'nick=b=b'], { env: SERVERS, stdin: PASSWORD }), { code: 1, err: 'fastify-token-auth: createUser: column "nick" of relation "users" does not exist\n' })
    t.match(await cli(['create-user', 'bob'], { env: SERVERS, stdin: 'short' }), { code: 1, err: /at least 8 characters/ })
    t.match(await cli(['create-user', ''], { env: SERVERS, stdin: PASSWORD }), { code: 1, err: /A username must have 1 to 254 characters/ })
    t.match(await cli(['create-user', 'bob'], { env: SERVERS }), { code: 1, err: /No password given/ })
  })

  await t.test('create-user prompts for the password twice at a terminal, and does not echo it', async (t) => {
    const asked = start(['create-user', 'carl'], { env: SERVERS, isTTY: true })
    await until(() => asked.err().includes('Password: '), 'the prompt')
    asked.type(`${PASSWORD}x\x7f\n`)
    await until(() => asked.err().includes('Repeat the password: '), 'the second prompt')
    asked.type(`${PASSWORD}\n`)
    t.match(await asked.result, { code: 0, out: /^Created carl/, err: 'Password: \nRepeat the password: \n' })
    t.ok(await login(app, 'carl'))
  })

  await t.test('create-user creates no user if the passwords differ, or after Ctrl-C', async (t) => {
    const pasted = start(['create-user', 'dora'], { env: SERVERS, isTTY: true })
    pasted.type(`${PASSWORD}\n${NEW_PASSWORD}\n`)
    t.match(await pasted.result, { code: 1, err: /two passwords differ: nothing was changed/ })
    const interrupted = start(['create-user', 'dora'], { env: SERVERS, isTTY: true })
    await until(() => interrupted.err().includes('Password: '), 'the prompt')
    interrupted.type('secr\x03')
    t.match(await interrupted.result, { code: 1, err: /No password given: nothing was changed/ })
    t.strictSame(await query("select * from users where username = 'dora'", databaseUrl), [])
  })

  await t.test('set-password ends the sessions on running servers', async (t) => {
    const token = await login(app, 'ann')
    t.equal((await call('GET', '/protected', { token })).statusCode, 200)
    t.match(await cli(['set-password', 'ann'], { env: SERVERS, stdin: NEW_PASSWORD }), { code: 0, out: 'Set the password of ann; every session has ended\n', err: '' })
    t.equal((await call('GET', '/protected', { token })).statusCode, 401)
    t.ok(await login(app, 'ann', NEW_PASSWORD))
    t.match(await cli(['set-password', 'nobody'], { env: SERVERS, stdin: NEW_PASSWORD }), { code: 1, err: 'fastify-token-auth: No such user\n' })
  })

  await t.test('revoke-user prints how many sessions it ended, and running servers refuse them', async (t) => {
    const tokens = [await login(app, 'carl'), await login(app, 'carl')]
    for (const token of tokens) t.equal((await call('GET', '/protected', { token })).statusCode, 200)
    t.match(await cli(['revoke-user', 'carl'], { env: SERVERS }), { code: 0, out: 'Ended 3 sessions of carl\n', err: '' })
    for (const token of tokens) t.equal((await call('GET', '/protected', { token })).statusCode, 401)
    await login(app, 'carl')
    t.match(await cli(['revoke-user', 'carl'], { env: SERVERS }), { out: 'Ended 1 session of carl\n' })
    t.match(await cli(['revoke-user', 'nobody'], { env: SERVERS }), { code: 1, err: /No such user/ })
  })

  await t.test('revoke-user reports if it cannot notify running servers', async (t) => {
    await createUser(app, 'eve')
    await login(app, 'eve')
    t.match(await cli(['revoke-user', 'eve'], { env: { ...SERVERS, REDIS_URL: 'redis://127.0.0.1:1' } }), { code: 1, err: /stored, but not every server has confirmed it yet/ })
    await login(app, 'eve')
    t.match(await cli(['revoke-user', 'eve'], { env: { DATABASE_URL: databaseUrl } }), { code: 1, out: '', err: /^fastify-token-auth: The sessions are ended in the database, but REDIS_URL is not set: running servers may accept them/ })
  })

  await t.test('revoke-user and set-password notify every running server, whatever its namespace and key prefix', async (t) => {
    const url = await freshDatabase(t)
    const env = { DATABASE_URL: url, REDIS_URL: redisUrl() }
    const [one, two] = [uniqueNamespace(), uniqueNamespace()]
    await cli(['migrate', '--up'], { env })
    await cli(['create-user', 'gil'], { env, stdin: PASSWORD })
    for (const flags of [[], ['--cache-namespace', one]]) t.match(await cli(['revoke-user', 'gil', ...flags], { env }), { code: 0, out: 'Ended 0 sessions of gil\n' }, 'no server runs')
    const servers = await Promise.all([
      createApp(t, testOptions(url, { cache: { namespace: one } })),
      createApp(t, testOptions(url, { cache: { namespace: one }, redis: { url: redisUrl(), keyPrefix: two, commandTimeout: 5000 } })),
      createApp(t, testOptions(url, { cache: { namespace: two } })),
      createApp(t, testOptions(url, { cache: { namespace: one }, redis: { url: redisUrl(), db: 3, keyPrefix: one, commandTimeout: 5000 } })),
      createApp(t, testOptions(url, { cache: { namespace: one }, redis: { url: redisUrl(), db: 3, commandTimeout: 5000 } }))
    ])
    const { username } = await createUser(servers[0]!, 'fay')
    const commands = [[['revoke-user', username], ''], [['revoke-all'], ''], [['set-password', username], NEW_PASSWORD]] as const
    for (const [command, stdin] of commands) {
      const token = await login(servers[0]!, username)
      const statuses = async () => await Promise.all(servers.map(async (server) => (await caller(server)('GET', '/protected', { token })).statusCode))
      for (let times = 0; times < 2; times++) t.same(await statuses(), [200, 200, 200, 200, 200])
      t.match(await cli([...command], { env, stdin }), { code: 0, err: '' })
      t.same(await statuses(), [401, 401, 401, 401, 401], command.join(' '))
    }
    t.match(await query('select distinct namespace from auth_tokens_caches order by 1', url), [one, two, `${two} ${one}`, `${one} ${one}\t3`, `${one}\t3`].sort().map((keys) => ({ namespace: keys })), 'a command registers no cache of its own')

    await query(`insert into auth_tokens (digest, user_id, expires_at) select sha256(n::text::bytea), id, now() + interval '1 day'
      from users, generate_series(1, 1000) n where username = '${username}'`, url)
    t.match(await cli(['revoke-all'], { env }), { code: 0, out: '1000 sessions ended\nEnded 1000 sessions of all users\n', err: '' }, 'with its progress')

    const alone = await createApp(t, testOptions(url, { redis: null }))
    const { code, err } = await cli(['revoke-user', username], { env })
    t.equal(code, 1)
    t.match(err, /servers that cache tokens in their own process cannot be notified/)
    await alone.close()
    t.match(await cli(['revoke-user', username], { env }), { code: 0, err: '' }, 'the cache of a closed server is gone')
    await query('alter table auth_tokens_caches rename column seen_at to gone', url)
    t.match(await cli(['revoke-user', username], { env }), { code: 1, err: /seen_at/ }, 'not to know the servers is an error')
  })

  await t.test('prune deletes long-ended tokens in batches', async (t) => {
    await query("update auth_tokens set revoked_at = now() - interval '2 days', stale_at = now() - interval '2 days' where revoked_at is not null", databaseUrl)
    const [{ ended, live }] = await query('select count(revoked_at)::int as ended, count(*)::int - count(revoked_at)::int as live from auth_tokens', databaseUrl)
    t.ok(ended >= 5)
    t.match(await cli(['prune'], { env: SERVERS }), { code: 0, out: '0 rows deleted\nDone: 0 rows in total\n' })
    const { code, out } = await cli(['prune', '--batch-size', '2', '--retention', '1d'], { env: SERVERS })
    t.equal(code, 0)
    t.match(out, '2 rows deleted\n4 rows deleted\n')
    t.match(out, `Done: ${ended} rows in total\n`)
    t.strictSame(await query('select count(*)::int as live from auth_tokens', databaseUrl), [{ live }])
  })
})

test('user commands report what is missing if no migration is applied', async (t) => {
  const env = { DATABASE_URL: await freshDatabase(t) }
  t.match(await cli(['revoke-user', 'ann'], { env }), { code: 1, err: /The users table is not as expected.*migrate --up/ })
})

test('a missing peer dependency is reported with the command that installs it', async (t) => {
  await t.rejects(importPeer('@fastify/no-such-package'), { message: 'The package @fastify/no-such-package is not installed. Run: npm install @fastify/no-such-package' })
  await t.rejects(importPeer('./no-such-file.js'), { message: /no-such-file/ }, 'any other error is passed on unchanged')
})

test('a command exits normally even if its output is no longer read', async (t) => {
  const { child, result } = spawnSource(t, ['--help'])
  child.stdout.destroy()
  t.match(await result, { code: 0, err: '' })
})
