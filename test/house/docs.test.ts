import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join, relative, resolve } from 'node:path'
import { PassThrough } from 'node:stream'
import fastifyAuth from '@fastify/auth'
import swagger from '@fastify/swagger'
import websocket from '@fastify/websocket'
import Fastify, { errorCodes } from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import ts from 'typescript'
import { run } from '../../lib/cli/run.js'
import { authPlugin, errors, scanningPattern } from '../../lib/index.js'
import { OPTIONS } from '../../lib/options/table.js'
import { openRedis } from '../../lib/redis/client.js'
import { createTokenFormat } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { SILENT } from '../helpers/silent.js'

const ROOT = resolve('')
const FILES = [...readdirSync(ROOT), ...readdirSync(join(ROOT, 'docs')).map((name) => join('docs', name))].filter((name) => name.endsWith('.md'))

function read (file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

/** The tables of a text with this header, as rows of cells. */
function rowsOf (text: string, ...header: string[]): string[][] {
  const tables = text.match(/^\|.*(\n\|.*)*/gm) ?? []
  return tables.flatMap((table) => {
    const [head, , ...rows] = table.split('\n').map((line) => line.replace(/^\| ?| ?\|$/g, '').split(/ ?\| ?/))
    return head!.join('|') === header.join('|') ? rows : []
  })
}

/** The text under each heading of a level. */
function sectionsOf (text: string, mark: string): Map<string, string> {
  const [, ...parts] = `\n${text}`.split(`\n${mark} `)
  return new Map(parts.map((part) => [part.split('\n', 1)[0]!, part.split(/\n#{1,3} /, 1)[0]!]))
}

function blocksOf (text: string, language: string): string[] {
  return [...text.matchAll(/^```(\w*)[^\n]*\n(.*?)^```$/gms)].filter(([, name]) => name === language).map(([, , block]) => block!)
}

function codesOf (text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!)
}

function sorted (values: Iterable<string>): string[] {
  return [...values].sort()
}

function show (path: string, fallback: unknown): string {
  if (fallback === undefined) return 'required'
  if (path === 'now') return '`Date.now`'
  if (typeof fallback === 'function') return `\`${fallback.name}\``
  if (Array.isArray(fallback)) return `\`[${fallback.map((value) => `'${value}'`).join(', ')}]\``
  return typeof fallback === 'string' ? `\`'${fallback}'\`` : `\`${fallback}\``
}

/** The error of the option's rule for a value that it rejects. */
function complaint (path: keyof typeof OPTIONS, value: number): string {
  try {
    OPTIONS[path].rule(value, path)
    return ''
  } catch (error) {
    return (error as Error).message.slice(`${path} must be `.length).replace(/, got .*/, '')
  }
}

function mustBe (path: keyof typeof OPTIONS): string {
  const low = complaint(path, NaN)
  const high = complaint(path, Infinity).replace('a duration of ', '')
  return low.startsWith('a duration') && high !== `at most ${3650 * 86_400} s` ? `${low}, ${high}` : low
}

async function setUp (t: Test, options = {}): Promise<{ url: string, app: FastifyInstance }> {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  return { url, app: await createApp(t, testOptions(url, options)) }
}

/** The names of an object's fields, including nested ones, and those of an array's first element. */
function shapeOf (value: any): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shapeOf)
  if (typeof value !== 'object' || value === null) return typeof value === 'number' ? 'number' : 'text or null'
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shapeOf(inner)]))
}

t.test('options', async (t) => {
  const expected = Object.entries(OPTIONS).map(([path, { fallback }]) => [`\`${path}\``, show(path, fallback)])
  const rules = Object.keys(OPTIONS).map((path) => [`\`${path}\``, mustBe(path as keyof typeof OPTIONS)])

  t.test('docs/options.md has every option, its default and its rule, and no other', async (t) => {
    const rows = rowsOf(read('docs/options.md'), 'option', 'default', 'must be', 'meaning')
    t.same(rows.map(([path, fallback]) => [path, fallback]).sort(), expected.sort())
    t.same(rows.map(([path, _fallback, rule]) => [path, rule]).sort(), rules.sort())
    t.ok(rows.every(([, , , meaning]) => meaning !== ''), 'every option has a meaning')
  })

  t.test('the README has a few options with their defaults', async (t) => {
    const rows = rowsOf(read('README.md'), 'option', 'default', '').map(([path, fallback]) => `${path} ${fallback}`)
    const all = expected.map(([path, fallback]) => `${path} ${fallback}`)
    t.equal(rows.length, 12)
    t.same(rows.filter((row) => !all.includes(row)), [])
  })

  t.test('docs/options.md has the settings that a Redis connection gets', async (t) => {
    const client = openRedis({ url: 'redis://127.0.0.1:1' }, SILENT)
    const rows = rowsOf(read('docs/options.md'), 'setting', 'value', 'may be changed in the options form', 'why')
    t.not(rows.length, 0)
    for (const [setting, value, mayChange] of rows) {
      const name = codesOf(setting!)[0]!
      const actual = (client.options as Record<string, unknown>)[name]
      if (typeof actual !== 'function') t.equal(value!.split(' ')[0], show(name, actual), name)
      const other = typeof actual === 'boolean' ? !actual : 7
      if (mayChange === 'yes') t.doesNotThrow(() => openRedis({ [name]: other, lazyConnect: true }, SILENT), name)
      else t.throws(() => openRedis({ [name]: other }, SILENT), { code: 'FST_TOKEN_AUTH_INVALID_OPTION' }, name)
    }
  })

  t.test('docs/options.md has the additional settings of a Cluster', async (t) => {
    const sentence = /A Cluster also gets (.*?);/s.exec(read('docs/options.md'))![1]!
    const { options } = openRedis(new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true, scaleReads: 'slave', slotsRefreshInterval: 60_000 }), SILENT)
    for (const [name, value] of codesOf(sentence).map((code) => code.split(': ') as [string, string])) {
      t.equal(value, show(name, (options as Record<string, unknown>)[name]).slice(1, -1), name)
    }
  })

  t.test('docs/options.md has every event with its channel and its fields', async (t) => {
    const rows = rowsOf(read('docs/options.md'), 'hook', 'channel', 'fields')
    const names = Object.keys(OPTIONS).filter((path) => path.startsWith('hooks.')).map((path) => path.slice('hooks.'.length))
    t.same(sorted(rows.map(([hook]) => codesOf(hook!)[0]!)), sorted(names))
    const told = new Map<string, object>()
    const hooks = Object.fromEntries(names.map((name) => [name, (event: object) => { told.set(name, event) }]))
    const { app } = await setUp(t, { hooks })
    const call = caller(app)
    const { username } = await createUser(app)
    await call('POST', '/auth/login', { body: { username, password: 'wrong' } })
    const token = await login(app, username)
    const changed = await call('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'another long one' } })
    await call('POST', '/auth/change-password', { token: changed.json().token, body: { currentPassword: 'wrong', newPassword: 'another long one' } })
    await call('POST', '/auth/logout', { token: changed.json().token })
    await call('GET', '/auth/me', { token })
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    for (const [hook, channel, fields] of rows) {
      const name = codesOf(hook!)[0]!
      t.equal(channel, `\`fastify-token-auth:${name[2]!.toLowerCase()}${name.slice(3)}\``)
      if (name === 'onCacheError') continue
      t.same(codesOf(fields!).sort(), Object.keys(told.get(name) ?? {}).sort(), name)
    }
  })
})

t.test('docs/errors.md has every error with its status and message, and no other', async (t) => {
  const sections = sectionsOf(read('docs/errors.md'), '###')
  t.same(sorted(sections.keys()), sorted(Object.keys(errors).map((name) => `FST_TOKEN_AUTH_${name}`)))
  for (const [name, OwnError] of Object.entries(errors)) {
    // Without the values of its message, which the types demand.
    const { code, statusCode, message } = new (OwnError as any)()
    t.equal(code, `FST_TOKEN_AUTH_${name}`)
    const [, , line = ''] = sections.get(code)?.split('\n') ?? []
    t.equal(line, `Status ${statusCode}${message === '%s' ? '' : `: "${message}"`}`, code)
  }
})

t.test('docs/routes.md', async (t) => {
  const text = read('docs/routes.md')
  const sections = new Map([...sectionsOf(text, '###')].filter(([heading]) => /^[A-Z]+ \//.test(heading)))
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi: '3.1.0' } })
  await app.register(authPlugin, testOptions(url))
  await app.ready()

  t.test('has every route of the OpenAPI document with every status, and no other', async (t) => {
    const published = Object.entries(app.swagger().paths ?? {}).flatMap(([path, methods]) =>
      Object.entries(methods as Record<string, { responses: object }>).map(([method, { responses }]) =>
        [`${method.toUpperCase()} ${path}`, Object.keys(responses).sort()]))
    const documented = [...sections].map(([heading, section]) => [heading, sorted(new Set(rowsOf(section, 'status', 'code', 'when').map(([status]) => status!)))])
    t.same(documented.sort(), published.sort())
  })

  t.test('has every error code with its actual status', async (t) => {
    for (const [heading, section] of sections) {
      for (const [status, codes] of rowsOf(section, 'status', 'code', 'when')) {
        for (const code of codesOf(codes!)) {
          // Names from the text, which the types do not know.
          const OwnError = (errors as any)[code.replace('FST_TOKEN_AUTH_', '')] ?? (errorCodes as any)[code]
          t.equal(String(OwnError === undefined ? 'unknown' : new OwnError().statusCode), status, `${heading} ${code}`)
        }
      }
    }
  })

  t.test('shows replies with the shape of the routes\' actual replies', async (t) => {
    const shown = (heading: string) => shapeOf(JSON.parse(blocksOf(sections.get(heading)!, 'json')[0]!))
    const { username } = await createUser(app)
    const call = caller(app)
    const first = await call('POST', '/auth/login', { body: { username, password: PASSWORD } })
    const { token } = first.json()
    t.same(shapeOf(first.json()), shown('POST /auth/login'))
    t.same(shapeOf((await call('GET', '/auth/me', { token })).json()), shown('GET /auth/me'))
    t.same(shapeOf((await call('GET', '/auth/sessions', { token })).json()), shown('GET /auth/sessions'))
    const changed = await call('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'another long one' } })
    t.same(shapeOf(changed.json()), shown('POST /auth/change-password'))
    const refused = await call('GET', '/auth/me', { token })
    t.same(refused.json(), JSON.parse(blocksOf(text, 'json')[0]!))
    t.equal((await call('HEAD', '/auth/me', { token: changed.json().token })).statusCode, 200)
  })

  t.test('has every function of fastify.tokenAuth, and no other', async (t) => {
    const names = rowsOf(text, 'function', 'result').map(([call]) => codesOf(call!)[0]!.replace(/\(.*/, ''))
    t.same(sorted(names), sorted(Object.keys(app.tokenAuth)))
  })

  t.test('describes how the hook behaves in @fastify/auth and before a WebSocket', async (t) => {
    const other = Fastify()
    t.teardown(() => other.close())
    await other.register(fastifyAuth)
    await other.register(websocket)
    await other.register(authPlugin, testOptions(url))
    const refuse = async () => { throw new Error('no') }
    other.get('/report', { onRequest: other.auth([other.authenticate, refuse]) }, async ({ user }) => user)
    other.get('/live', { websocket: true, onRequest: other.authenticate }, (socket, { user }) => socket.send(`hello ${user?.username}`))
    await other.listen({ port: 0 })
    const { id, username } = await createUser(other)
    const authorization = `Bearer ${(await other.tokenAuth.issueToken(id)).token}`
    t.equal((await other.inject({ url: '/report', headers: { authorization } })).json().username, username)
    t.equal((await other.inject('/report')).statusCode, 401)

    const upgrade = (headers: object) => request({
      port: (other.server.address() as AddressInfo).port,
      path: '/live',
      headers: { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', ...headers }
    }).end()
    const [{ statusCode }] = await once(upgrade({}), 'response')
    t.equal(statusCode, 401)
    const [, socket, head] = await once(upgrade({ authorization }), 'upgrade')
    t.match(String(head.length > 0 ? head : (await once(socket, 'data'))[0]), `hello ${username}`)
    socket.destroy()
  })
})

t.test('docs/storage.md', async (t) => {
  const text = read('docs/storage.md')
  const { url, app } = await setUp(t)
  const { username } = await createUser(app)
  const owner = new pg.Client(url)
  await owner.connect()
  t.teardown(() => owner.end())

  for (const table of ['auth_tokens', 'auth_tokens_server_key', 'auth_tokens_caches', 'users']) {
    t.test(`has every column of ${table} with its type, and no other`, async (t) => {
      const { rows } = await owner.query(`select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
        where attrelid = $1::regclass and attnum > 0`, [table])
      const short = (type: string) => `\`${type.replace('timestamp with time zone', 'timestamptz')}\``
      const actual = rows.map(({ name, type }) => [`\`${name}\``, name === 'user_id' ? 'as the user\'s id' : short(type)])
      t.same(rowsOf(sectionsOf(text, '###').get(table)!, 'column', 'type', '').map(([name, type]) => [name, type]), actual)
    })
  }

  t.test('has every index of auth_tokens, and the two tables of migrations', async (t) => {
    const { rows } = await owner.query('select indexname from pg_indexes where tablename = \'auth_tokens\'')
    t.same(sorted(rowsOf(text, 'index', 'for').map(([index]) => codesOf(index!)[0]!)), sorted(rows.map(({ indexname }) => indexname)))
    const { rows: tables } = await owner.query('select tablename from pg_tables where schemaname = \'public\'')
    for (const { tablename } of tables) t.match(text, tablename)
  })

  t.test('has the regular expression that finds tokens', async (t) => {
    const [pattern] = blocksOf(text, 'regex')
    t.equal(pattern!.trim(), scanningPattern('fta'))
    let byte = 0
    const format = createTokenFormat({ prefix: 'fta', randomBytes: (size) => Buffer.alloc(size, byte++) })
    for (let i = 0; i < 256; i++) {
      const token = format.create()
      t.equal(new RegExp(pattern!.trim()).exec(`"token": "${token}", `)?.[0], token)
    }
    t.ok(FILES.flatMap((file) => read(file).match(new RegExp(pattern!.trim(), 'g')) ?? []).every(format.isWellFormed), 'the example tokens have a valid checksum')
  })

  t.test('has sufficient PostgreSQL grants', async (t) => {
    const role = `api_${process.pid}`
    await owner.query(`create role ${role} login password 'secret'`)
    t.teardown(() => owner.query(`drop owned by ${role}; drop role ${role}`))
    const grants = blocksOf(text, 'sql').find((block) => block.startsWith('grant'))!
    await owner.query(grants.replaceAll(' to api;', ` to ${role};`))
    const as = new URL(url)
    as.username = role
    as.password = 'secret'
    const limited = await createApp(t, { ...testOptions(as.href), autoMigrate: false })
    const user = await createUser(limited, 'somebody')
    const token = await login(limited, 'somebody')
    t.equal((await caller(limited)('GET', '/protected', { token })).statusCode, 200)
    await limited.tokenAuth.setPassword(user.id, 'another long one')
    await limited.tokenAuth.setActive(user.id, false)
    t.equal(await limited.tokenAuth.deleteUser(user.id), true)
    t.equal(await limited.tokenAuth.pruneExpired(), 0)
  })

  t.test('has a sufficient Redis ACL, and the keys', async (t) => {
    const [command] = text.match(/^ACL SETUSER .*$/m)!
    const namespace = uniqueNamespace()
    const name = namespace.slice(0, -1)
    const [, , , ...rules] = command.replace('~fta:*', `~${namespace}*`).split(' ')
    const redis = new Redis(redisUrl())
    t.teardown(() => redis.disconnect())
    await redis.call('ACL', 'SETUSER', name, ...rules)
    t.teardown(() => redis.call('ACL', 'DELUSER', name))
    const failures: unknown[] = []
    const warnings: string[] = []
    const limited = await createApp(t, {
      ...testOptions(url, { redis: { url: redisUrl(), username: name, password: 'secret' }, hooks: { onCacheError: (event) => failures.push(event) } }),
      rateLimit: { max: 5 },
      cache: { namespace }
    }, { server: { logger: { level: 'warn', stream: { write: (line: string) => { warnings.push(line) } } } } })
    const call = caller(limited)
    const token = await login(limited, username)
    for (const password of ['wrong', PASSWORD]) await call('POST', '/auth/login', { body: { username, password } })
    t.same(warnings, [], 'the limits count in Redis')
    for (let i = 0; i < 2; i++) t.equal((await call('GET', '/protected', { token })).statusCode, 200)
    t.match((await redis.keys(`${namespace}*`)).map((key) => key.slice(namespace.length)).sort(), [/^l:/, /^server:[\w-]{12}$/, /^servers:[\w-]{43}$/, /^t:[\w-]{43}$/])
    await limited.tokenAuth.refreshUser((await limited.tokenAuth.createUser({ username: 'other', password: null })).id)
    t.equal((await call('POST', '/auth/logout', { token })).statusCode, 204)
    t.same(failures, [])
    t.same(await limited.tokenAuth.health(), { database: 'up', cache: 'up' })
  })
})

t.test('docs/security.md', async (t) => {
  const text = read('docs/security.md')
  const header = ['requirement', 'L', 'state', 'how, and the test']
  const idsOf = (cell: string) => cell.split(', ')

  t.test('names tests that exist', async (t) => {
    const titles = [...text.matchAll(/`"([^`]+)"`/g)].map(([, title]) => title!)
    t.not(titles.length, 0)
    const tests = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.test.ts'))
    const sources = tests.map((name) => read(join('test', name)).replaceAll('\\\'', '\'')).join('\n')
    for (const title of titles) t.ok(['\'', '"'].some((quote) => sources.includes(`test(${quote}${title}${quote},`)), title)
  })

  t.test('has every requirement of its chapters once, and a test for each that is met', async (t) => {
    const counts = { 2.4: 2, 6.1: 3, 6.2: 12, 6.3: 8, 6.4: 6, 6.5: 8, 6.6: 4, 6.7: 2, 6.8: 4, 7.1: 3, 7.2: 4, 7.3: 2, 7.4: 5, 7.5: 3, 7.6: 2, 11.1: 4, 11.2: 5, 11.3: 5, 11.4: 4, 11.5: 2, 11.6: 2, 11.7: 2, 16.1: 1, 16.2: 5, 16.3: 4, 16.4: 3, 16.5: 4 }
    const all = Object.entries(counts).flatMap(([section, count]) => Array.from({ length: count }, (_, i) => `${section}.${i + 1}`))
    const rows = rowsOf(text, ...header)
    t.same(sorted(rows.flatMap(([ids]) => idsOf(ids!))), sorted(all))
    for (const [ids, level, state, how] of rows) {
      t.match(level, /^[123](, [123]| to 3)?$/, ids!)
      t.match(state, /^(met|partly|host|no)$/, ids!)
      t.ok(how !== '' && (!['met', 'partly'].includes(state!) || how!.includes('`"')), ids!)
    }
  })

  t.test('lists what is missing for each partly met requirement', async (t) => {
    const partly = rowsOf(text, ...header).filter(([, , state]) => state === 'partly').flatMap(([ids]) => idsOf(ids!))
    t.same(rowsOf(text, 'requirement', 'what is missing').map(([id]) => id), partly)
  })

  t.test('has every limit with its default', async (t) => {
    const isLimit = (path: string) => /^(rateLimit|accountLimit|hashing|lookup)\./.test(path) || ['captcha', 'token.maxPerUser', 'token.ttl', 'token.idleTtl'].includes(path)
    const expected = Object.entries(OPTIONS).filter(([path]) => isLimit(path)).map(([path, { fallback }]) => [`\`${path}\``, show(path, fallback)])
    const rows = rowsOf(text, 'limit', 'option', 'default', 'key', 'without its store')
    t.same(rows.map(([, path, fallback]) => [path, fallback]).sort(), expected.sort())
    t.ok(rows.every((cells) => cells.length === 5 && cells[4] !== ''), 'every limit has a description of what happens without its store')
  })

  t.test('names every folder that uses cryptography, and no other', async (t) => {
    const files = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => `lib/${name}`)
    const using = new Set(files.filter((file) => /from '(node:crypto|bcryptjs)'|require\('@node-rs\/argon2'\)/.test(read(file))).map((file) => `${dirname(file)}/`))
    t.not(using.size, 0)
    t.same(sorted(codesOf(sectionsOf(text, '##').get('Keys and algorithms')!).filter((code) => code.startsWith('lib/'))), sorted(using))
    const algorithms = new Set(files.flatMap((file) => [...read(file).matchAll(/\b(?:createHash|createHmac|hash)\('([\w-]+)'/g)].map(([, name]) => name!)))
    t.same(sorted(algorithms), ['sha1', 'sha256', 'sha512-256'])
  })

  t.test('has a statement that replaces the servers\' key', async (t) => {
    const { url } = await setUp(t)
    const owner = new pg.Client(url)
    await owner.connect()
    const key = async () => (await owner.query('select value from auth_tokens_server_key')).rows.map(({ value }) => value.toString('hex'))
    const before = await key()
    const { rowCount } = await owner.query(blocksOf(text, 'sql')[0]!)
    const after = await key()
    await owner.end()
    t.equal(rowCount, 1)
    t.match(after, [/^[0-9a-f]{64}$/])
    t.not(after[0], before[0])
  })

  t.test('is linked from the README and from SECURITY.md', async (t) => {
    for (const file of ['README.md', 'SECURITY.md']) t.match(read(file), '](docs/security.md', file)
  })
})

t.test('the README has every command, flag of serve and variable, and no other', async (t) => {
  async function help (...args: string[]): Promise<string> {
    const stdout = new PassThrough()
    // Help needs no terminal, which the types demand.
    t.equal(await run(args, { env: {}, stdin: new PassThrough(), stdout, stderr: stdout } as any), 0)
    return String(stdout.read())
  }
  const first = (text: string, after: string) => text.split(`${after}:\n`)[1]!.split('\n\n')[0]!.split('\n').map((line) => line.trim().split(/ {2,}/)[0]!)
  const text = read('README.md')
  const all = await help('--help')
  t.same(sorted(rowsOf(text, 'command', '').map(([name]) => codesOf(name!)[0]!)), sorted(first(all, 'Commands')))
  t.same(sorted(rowsOf(text, 'variable', 'read by', '').flatMap(([names]) => codesOf(names!))), sorted(first(all, 'Environment').flatMap((names) => names.split(', '))))
  const flags = first(await help('serve', '--help'), 'Options').map((flag) => flag.split(' ')[0]!).filter((flag) => flag !== '--help' && flag !== '')
  t.same(sorted(rowsOf(text, 'flag of `serve`', '').flatMap(([names]) => codesOf(names!)).map((code) => code.split(' ')[0]!)), sorted(flags))
})

t.test('examples', async (t) => {
  t.test('all TypeScript compiles', async (t) => {
    const prelude = `import type { FastifyInstance, FastifyRequest } from 'fastify'
      import '@fastify/auth'
      import '@fastify/websocket'
      import authPlugin from 'fastify-token-auth'
      declare const app: FastifyInstance\n`
    const blocks = FILES.flatMap((file) => blocksOf(read(file), 'ts').map((block, index) => [`${file.replace(/\W/g, '-')}-${index}.ts`, block] as const))
    t.not(blocks.length, 0)
    const directory = t.testdir(Object.fromEntries(blocks.map(([name, block]) => [name, block.includes('import Fastify') ? block : prelude + block])))
    const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile)
    const { options } = ts.parseJsonConfigFileContent({ ...config, files: [] }, ts.sys, ROOT)
    const settings = { ...options, noEmit: true, declaration: false, noUnusedLocals: false, noUnusedParameters: false, paths: { 'fastify-token-auth': [join(ROOT, 'dist/lib/index.d.ts')] } }
    let program: ts.Program | undefined
    const faultsOf = (names: string[]) => {
      const paths = names.map((name) => join(directory, name))
      // The second program takes the files of the first one, which are nearly all that it has.
      program = ts.createProgram(paths, settings, undefined, program)
      const found = paths.map((path) => program!.getSourceFile(path)!).flatMap((file) => [...program!.getSyntacticDiagnostics(file), ...program!.getSemanticDiagnostics(file)])
      return [...program.getOptionsDiagnostics(), ...found].map(({ file, messageText }) => `${relative(directory, file?.fileName ?? '')}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`)
    }
    // Blocks that rename decorators would change the types of the other blocks.
    const [renaming, others] = [true, false].map((isRenaming) => blocks.filter(([, block]) => block.includes('interface Decorators') === isRenaming).map(([name]) => name))
    t.same(faultsOf(renaming!), [])
    t.same(faultsOf(others!), [])
  })

  t.test('all JSON can be parsed', async (t) => {
    for (const block of FILES.flatMap((file) => blocksOf(read(file), 'json'))) t.doesNotThrow(() => JSON.parse(block))
  })
})

t.test('every internal link leads to a file of the package and a heading', async (t) => {
  const anchorsOf = (text: string) => [...text.replace(/^```.*?^```$/gms, '').matchAll(/^#+ (.*)$/gm)]
    .map(([, heading]) => heading!.toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, '').replaceAll(' ', '-'))
  // npm publishes these even if they are not listed.
  const published = ['README.md', 'LICENSE', ...JSON.parse(read('package.json')).files as string[]]
  for (const file of FILES) {
    for (const [, link] of read(file).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https:/.test(link!)) continue
      const [path = '', anchor] = link!.split('#')
      const target = path === '' ? join(ROOT, file) : resolve(ROOT, dirname(file), path)
      t.ok(published.some((name) => relative(join(ROOT, name), target).split('/')[0] !== '..'), `${file}: ${link} is in the package`)
      if (t.ok(existsSync(target), `${file}: ${link}`) && anchor !== undefined) t.ok(anchorsOf(readFileSync(target, 'utf8')).includes(anchor), `${file}: ${link}`)
    }
  }
})
