import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { test } from 'tap'
import type { Test } from 'tap'
import { createDemoUser } from '../../lib/cli/banner.js'
import { OVERLOADED } from '../../lib/errors.js'
import type { TokenAuth } from '../../lib/index.js'
import { openDatabase } from '../../lib/sql/database.js'
import { createApp, PASSWORD, testOptions } from '../helpers/app.js'
import { cli, post, SOURCE, spawnCli, spawnNode, spawnSource, start, untilPrinted } from '../helpers/cli.js'
import { FROM_SOURCES } from '../helpers/processes.js'
import { createDatabase, freshDatabase, query, redisUrl } from '../helpers/services.js'
import { until } from '../helpers/until.js'

const { url: databaseUrl, drop } = await createDatabase()
const directory = mkdtempSync(join(tmpdir(), 'fta-serve-'))
t.teardown(async () => {
  rmSync(directory, { recursive: true, force: true })
  await drop()
})

const SERVERS = { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl() }
const LAST_LINE = 'Press Ctrl-C to stop'

const urlOf = (out: string) => /Listening on (\S+)/.exec(out)?.[1] as string
const demoOf = (out: string) => /shown only once\): (\S+), password (\S+)/.exec(out)?.slice(1)

/** A server in this process, which is stopped at the end of the test. */
async function serve (t: Test, args: string[], env: Record<string, string>) {
  const server = start(['serve', '--port', '0', ...args], { env })
  t.teardown(async () => {
    server.signal()
    await server.result
  })
  await untilPrinted(server, LAST_LINE)
  return { ...server, url: urlOf(server.out()) }
}

test('serve runs on PostgreSQL and Redis, and reads its environment variables', async (t) => {
  const url = await freshDatabase(t)
  const server = await serve(t, [], { DATABASE_URL: url, REDIS_URL: redisUrl(), TOKEN_EXPIRY_IN_SECONDS: '120', TRUST_PROXY: '127.0.0.1, 10.0.0.0/8' })
  const { hostname, port, pathname } = new URL(url)
  const redis = new URL(redisUrl())
  t.match(server.out(), `PostgreSQL at ${hostname}:${port}${pathname}\n`)
  t.match(server.out(), new RegExp(`Redis at ${redis.hostname}:${redis.port}, (up|catching-up)\\n`))
  const health = async () => await (await fetch(`${server.url}/health`)).json() as { cache: string }
  await until(async () => (await health()).cache === 'up', 'the cache is trusted')
  t.same(await health(), { database: 'up', cache: 'up' })
  const [username, password] = demoOf(server.out()) as string[]
  const reply = await post(server.url, '/auth/login', { username, password })
  t.equal(reply.status, 200)
  const { expiresAt } = await reply.json() as { expiresAt: string }
  const seconds = (Date.parse(expiresAt) - Date.now()) / 1000
  t.ok(seconds > 60 && seconds <= 121, `${seconds} s`)
  // A document has no type; the assertions look into it.
  const document = await (await fetch(`${server.url}/docs/json`)).json() as any
  t.match(document, { openapi: '3.1.0', info: { license: { identifier: 'MIT' } } })
  t.ok(document.paths['/auth/login'].post && document.paths['/health'].get)
  t.match(await (await fetch(`${server.url}/docs`)).text(), '<!DOCTYPE html>')

  await t.test('a second start creates no second demo user', async (t) => {
    const again = await serve(t, [], { DATABASE_URL: url, TRUST_PROXY: 'true', RECAPTCHA_KEY: 'a-secret-key' })
    t.equal(demoOf(again.out()), undefined)
    t.match(again.out(), 'There are users already. To set the password of one, run: npx fastify-token-auth set-password <username>\n')
    t.match(again.out(), 'in this process, for one process only: set REDIS_URL')
    t.match(again.out(), 'RECAPTCHA_KEY is set')
    t.match(again.err(), 'TRUST_PROXY=true: every client can claim any address')
    t.equal((await post(again.url, '/auth/login', { username, password })).status, 400, 'the captcha is required')
  })
})

test('serve creates no demo user in production or with --no-demo', async (t) => {
  const url = await freshDatabase(t)
  const production = await serve(t, ['--host', '::'], { DATABASE_URL: url, NODE_ENV: 'production', TRUST_PROXY: 'false' })
  t.equal(demoOf(production.out()), undefined)
  t.match(production.url, /^http:\/\/\[::1\]:\d+$/)
  const unwanted = await serve(t, ['--no-demo', '--host', '0.0.0.0'], { DATABASE_URL: url })
  t.match(unwanted.url, /^http:\/\/127\.0\.0\.1:\d+$/)
  t.strictSame(await query('select * from users', url), [])
})

test('of several servers that start at once on an empty database one creates the demo user', async (t) => {
  const url = await freshDatabase(t)
  const servers = await Promise.all([1, 2].map(() => serve(t, [], { DATABASE_URL: url })))
  t.equal(servers.filter(({ out }) => demoOf(out()) !== undefined).length, 1)
  t.strictSame(await query('select username from users', url), [{ username: 'demo' }])

  await t.test('also if they check at the same time', async (t) => {
    const app = await createApp(t, testOptions(url))
    const { db, close } = openDatabase({ connectionString: url }, app.log)
    t.teardown(close)
    await query('delete from users', url)
    const made = await Promise.all([createDemoUser(db, app.tokenAuth), createDemoUser(db, app.tokenAuth)])
    t.equal(made.filter((demo) => demo !== null).length, 1)
    await query('delete from users', url)
    const busy = { ...app.tokenAuth, createUser: async () => { busy.createUser = app.tokenAuth.createUser; throw Object.assign(new OVERLOADED(), { retryAfterSeconds: 0 }) } } as unknown as TokenAuth
    t.match(await createDemoUser(db, busy), { username: 'demo' }, 'it retries if the machine is busy with its first hash')
    await query('alter table users add constraint closed check (false) not valid; delete from users', url)
    await t.rejects(createDemoUser(db, app.tokenAuth), { code: /^FST_TOKEN_AUTH_(UNAVAILABLE|INVALID_INPUT)$/ }, 'any other error is passed on')
  })
})

test('serve reports conflicting tables of another application in one line', async (t) => {
  const url = await freshDatabase(t)
  await query('create table users (nr int)', url)
  t.match(await cli(['serve', '--port', '0'], { env: { DATABASE_URL: url } }), { code: 1, out: '', err: /^fastify-token-auth: "users" exists already, [^\n]*\. serve has none of these options: it needs a database of its own[^\n]*\n$/ })
})

test('serve reports in one line that a later version has migrated the database', async (t) => {
  const url = await freshDatabase(t)
  await query("create table auth_tokens_migration (name text primary key, timestamp text not null); insert into auth_tokens_migration values ('9999_later', now()::text)", url)
  t.match(await cli(['serve', '--port', '0'], { env: { DATABASE_URL: url } }), { code: 1, out: '', err: /^fastify-token-auth: [^\n]*9999_later[^\n]*\n$/ })
})

test('serve answers 503 at /health when the database is unavailable', async (t) => {
  const database = await createDatabase()
  const server = await serve(t, ['--log-level', 'silent'], { DATABASE_URL: database.url })
  await database.drop()
  const reply = await fetch(`${server.url}/health`)
  t.equal(reply.status, 503)
  t.same(await reply.json(), { database: 'down', cache: 'in-process' })
})

test('control characters in a request are escaped in the log, which keeps the original value', async (t) => {
  const server = await serve(t, ['--no-demo', '--log-level', 'info'], SERVERS)
  const client = connect(Number(new URL(server.url).port), '127.0.0.1')
  t.teardown(() => { client.destroy() })
  client.end(Buffer.from('GET /nowhere HTTP/1.1\r\nhost: a\x9b31m\r\n\r\n', 'latin1'))
  await untilPrinted(server, '"url":"/nowhere"')
  t.notMatch(server.out(), '\x9b')
  const line = server.out().split('\n').find((line) => line.includes('"url":"/nowhere"'))!
  t.equal(JSON.parse(line).req.host, 'a\x9b31m')
})

test('serve shuts down at the first signal, and exits at once at a later one', async (t) => {
  const server = start(['serve', '--port', '0'], { env: SERVERS })
  await untilPrinted(server, LAST_LINE)
  server.signal()
  server.clock.now = 900
  server.signal()
  t.strictSame(server.exits, [], 'npm repeats the signal of a terminal')
  server.clock.now = 1000
  server.signal()
  t.strictSame(server.exits, [130])
  t.match(await server.result, { code: 0 })
})

test('serve in its own process does not wait for a slow client forever', async (t) => {
  const server = spawnSource(t, ['serve', '--port', '0', '--no-demo'], SERVERS)
  await untilPrinted(server, LAST_LINE)
  const slow = connect(Number(new URL(urlOf(server.out())).port), '127.0.0.1')
  t.teardown(() => { slow.destroy() })
  slow.on('error', () => {})
  // The answer to the first request shows that the server has read the beginning of the second one.
  slow.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /health HTTP/1.1\r\n')
  await once(slow, 'data')
  const signals = setInterval(() => server.child.kill('SIGTERM'), 100)
  t.match(await server.result.finally(() => clearInterval(signals)), { code: 130, err: '' })
})

test('serve closes an idle connection at shutdown, and exits with code 0', async (t) => {
  const server = spawnCli(t, ['serve', '--port', '0', '--no-demo'], SERVERS)
  await untilPrinted(server, LAST_LINE)
  const standing = connect(Number(new URL(urlOf(server.out())).port), '127.0.0.1')
  t.teardown(() => { standing.destroy() })
  standing.on('error', () => {})
  await once(standing, 'connect')
  server.child.kill('SIGTERM')
  t.match(await server.result, { code: 0, err: '' })
})

test('serve stops when the npm that started it is killed', async (t) => {
  const args = [...FROM_SOURCES, SOURCE, 'serve', '--port', '0', '--no-demo']
  // Stands for npm, which starts a shell that starts the command.
  const script = `require('node:child_process').spawn(process.execPath, ${JSON.stringify(args)}, { stdio: 'inherit' })`
  const npm = spawnNode(t, ['-e', script], { ...SERVERS, npm_command: 'run-script' })
  await untilPrinted(npm, LAST_LINE)
  npm.child.kill('SIGKILL')
  t.match(await npm.result, { err: '' }, 'its output ends, which the server has inherited')
})

test('serve reports in one line that it cannot listen', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const refused = async (args: string[], message: RegExp) => {
    const { code, err } = await cli(['serve', ...args], { env: SERVERS })
    t.equal(code, 1)
    t.match(err, message)
    t.match(err, /^[^\n]+\n$/)
  }
  await refused(['--port', String(port)], /cannot listen on 127\.0\.0\.1 port \d+: the port is in use/)
  await refused(['--port', '0', '--host', '192.0.2.1'], /cannot listen on 192\.0\.2\.1.*no such address/)
  await refused(['--port', '0', '--host', 'no.such.host.invalid'], /no\.such\.host\.invalid/)
})

test('serve stores an embedded database in a directory, for one process at a time', async (t) => {
  const data = join(directory, '.data')
  const server = spawnSource(t, ['serve', '--port', '0'], {}, directory)
  const { child, result } = server
  await untilPrinted(server, LAST_LINE)
  const [username, password] = demoOf(server.out()) as string[]

  await t.test('the printed commands log in, make a request and log out', async (t) => {
    const lines = server.out().split('\n').filter((line) => /^(TOKEN=|curl )/.test(line))
    t.equal(lines.length, 3)
    const token = /"token":"([^"]*)"/.exec(await (await post(urlOf(server.out()), '/auth/login', { username, password })).text())
    t.ok(token, 'the login answers as the first line expects')
    if (spawnSync('curl', ['--version']).error !== undefined) return
    const shell = spawnSync('bash', ['-c', lines.join('\n')], { encoding: 'utf8' })
    t.match(shell.stdout, /HTTP\/1\.1 200 [^]*"username":"demo"[^]*HTTP\/1\.1 204 /)
  })

  await t.test('another process is refused with the id of the process that uses the directory', async (t) => {
    for (const args of [['serve', '--port', '0'], ['create-user', 'ann']]) {
      const { code, err } = await cli([...args, '--data', data], { stdin: PASSWORD })
      t.equal(code, 1)
      t.match(err, `The data directory ${data} is in use by process ${child.pid}`)
    }
  })

  await t.test('SIGINT stops it, and the next process has its data, even with the lock file of a crash', async (t) => {
    child.kill('SIGINT')
    t.match(await result, { code: 0, err: '' })
    t.notOk(existsSync(join(data, 'lock')))
    writeFileSync(join(data, 'lock'), `${child.pid}\n`)
    const next = start(['serve', '--port', '0', '--data', data])
    await untilPrinted(next, LAST_LINE)
    t.equal(demoOf(next.out()), undefined)
    t.match(next.out(), `embedded PostgreSQL (PGlite) in ${data}\n`)
    t.match(next.out(), 'To set the password of one, stop this server and run: npx')
    const { code, err } = await cli(['prune', '--data', data])
    t.match({ code, err }, { code: 1, err: `in use by process ${process.pid}` })
    t.equal((await post(urlOf(next.out()), '/auth/login', { username, password })).status, 200)
    next.signal()
    t.match(await next.result, { code: 0 })
  })

  await t.test('revoke-user prints no warning about running servers, because there are none', async (t) => {
    writeFileSync(join(data, 'lock'), `${process.pid}\n`)
    t.match(await cli(['revoke-user', 'demo', '--data', data]), { code: 0, out: /Ended \d sessions? of demo/, err: '' })
  })
})

test('serve --memory stores nothing', async (t) => {
  const server = await serve(t, ['--memory'], {})
  t.match(server.out(), 'in memory, gone with this process')
  t.ok(demoOf(server.out()))
})

test('an unusable data directory is reported in one line', async (t) => {
  const file = join(directory, 'file')
  writeFileSync(file, '')
  t.match(await cli(['migrate', '--data', file]), { code: 1, err: /EEXIST[^\n]*\n$/ })
  const damaged = join(directory, 'damaged')
  mkdirSync(damaged)
  writeFileSync(join(damaged, 'pglite'), '')
  t.match(await cli(['migrate', '--data', damaged]), { code: 1, err: /The embedded database in .*damaged cannot be opened: [^\n]+\n$/ })
  t.notOk(existsSync(join(damaged, 'lock')), 'the lock is released')
})
