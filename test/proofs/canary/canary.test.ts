import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { ServerResponse } from 'node:http'
import { createFinder, createMark, findLeaks, MAY_BE_IN } from './marks.js'
import { createLedger, send, startDatabase, startEcho, startHost, startRedis } from './world.js'
import type { Request } from './world.js'
import { cli, spawnCli } from '../../helpers/cli.js'
import { until } from '../../helpers/until.js'

t.test('the search finds a value in every encoding, and reports it where it is not allowed', async (t) => {
  const mark = createMark('password', (core) => `pä"ss ${core}%\n`)
  const find = createFinder([mark, createMark('password')])
  const value = String(mark.value)
  const bytes = Buffer.from(value)
  const forms: Record<string, string> = {
    plain: value,
    folded: value.toUpperCase(),
    json: JSON.stringify({ message: `it was ${JSON.stringify(value)}` }),
    url: encodeURIComponent(value),
    form: new URLSearchParams({ value }).toString(),
    hex: bytes.toString('hex'),
    buffer: `<Buffer ${bytes.toString('hex').replace(/../g, '$& ')}>`,
    'buffer as JSON': JSON.stringify(bytes),
    'cut off': value.slice(0, 31)
  }
  for (const before of ['', '1', '22', '333']) {
    forms[`base64 after ${before}`] = Buffer.from(before + value + before).toString('base64')
    forms[`base64url after ${before}`] = Buffer.from(before + value + before).toString('base64url')
  }
  for (const [name, form] of Object.entries(forms)) t.same([...find(`around ${form} it`).keys()], [mark], name)
  t.equal(find('canary0123456789abcdef').size, 0)

  const key = { kind: 'key of the pseudonyms', value: Buffer.from(Array.from({ length: 32 }, (_, i) => i * 8)), core: null }
  for (const form of ['hex', 'base64', 'base64url', 'latin1'] as const) t.equal(createFinder([key])(`"${key.value.toString(form)}"`).size, 1, form)
  for (const kind of Object.keys(MAY_BE_IN)) t.equal(findLeaks([{ name: 'stdout', text: `it is ${value}` }], [{ ...mark, kind }]).length, 1, kind)
  t.same(findLeaks([{ name: 'sql users.password_hash', text: value }], [{ ...mark, kind: 'password hash' }]), [])
})

const LONG = (core: string) => `${core} long enough to be cut off by bcrypt, which reads no more than seventy-two bytes of it`
const UNICODE = (core: string) => `пароль ${core} 密碼 ß`
const QUOTED = (core: string) => `"it's" ${core} 100%41 \\ <&>`

t.test('no secret appears in any output or storage where it is not allowed, whatever fails', async (t) => {
  const ledger = createLedger()
  const { mark } = ledger
  const secret = (kind: string) => mark(kind, (core) => `6Le${core}`)
  const keys = { captcha: secret('captcha secret'), enterprise: secret('API key') }
  const passwords = { database: mark('database password'), redis: mark('Redis password') }
  const [database, redis] = [await startDatabase(t, passwords.database), await startRedis(t, ledger, passwords.redis)]
  const host = startHost(t, ledger)
  const provider = { mode: 'refuses' }
  const breached = { mode: 'knows nothing' }
  const providerUrl = await startEcho(t, (heard) => ledger.see('asked of the captcha provider', heard), answerCaptcha)
  const breachedUrl = await startEcho(t, (heard) => ledger.see('asked of the list', heard), answerRange)
  const origins: Record<string, string> = {}
  const codes = new Set<string>()

  function answerCaptcha (response: ServerResponse, heard: string): void {
    const { response: answer, secret } = Object.fromEntries(new URLSearchParams(heard))
    const json = (value: object) => { response.setHeader('content-type', 'application/json').end(JSON.stringify({ ...value, heard, answer, secret })) }
    const modes: Record<string, () => void> = {
      refuses: () => json({ success: false, 'error-codes': ['timeout-or-duplicate'], tokenProperties: { valid: false, invalidReason: 'DUPE' } }),
      quotes: () => json({ success: false, 'error-codes': [answer, secret], tokenProperties: { valid: false, invalidReason: heard } }),
      'does not know us': () => json({ success: false, 'error-codes': ['invalid-input-secret', secret] }),
      'names another host': () => json({ success: true, hostname: answer, action: answer, challenge_ts: answer }),
      'is broken': () => { response.writeHead(500, { 'content-type': 'application/json' }).end(heard) },
      'refuses the question': () => { response.writeHead(400, answer ?? 'Bad').end(heard) },
      forbids: () => { response.writeHead(403).end(heard) },
      redirects: () => { response.writeHead(302, { location: `http://127.0.0.1/?${heard}` }).end(heard) },
      'is no JSON': () => { response.setHeader('content-type', 'application/json').end(`${heard}{`) },
      'is no HTTP': () => { response.socket!.end(`${heard}\r\n\r\n`) },
      'hangs up': () => { response.socket!.destroy() }
    }
    modes[provider.mode]!()
  }

  function answerRange (response: ServerResponse): void {
    if (breached.mode === 'is broken') response.statusCode = 500
    response.setHeader('content-type', 'text/plain').end(breached.mode === 'is no list' ? 'a page' : '')
  }

  async function http (path: string, more: Request & { at?: string } = {}): Promise<{ status: number, body: any }> {
    const reply = await send(ledger, `${origins[more.at ?? 'main']}${path}`, more)
    if (typeof reply.body?.code === 'string') codes.add(reply.body.code)
    return reply
  }

  const login = async (username: string, password: string, more: object = {}, at = 'main') => await http('/auth/login', { body: { username, password, ...more }, at })
  const change = async (token: string, currentPassword: string, newPassword: string, at = 'main') => await http('/auth/change-password', { token, body: { currentPassword, newPassword }, at })
  const admin = async (method: string, ...args: unknown[]) => await host.call('admin', 'main', method, ...args)
  const refused = async (method: string, ...args: unknown[]) => { codes.add(await host.fail('admin', 'main', method, ...args)) }
  const attemptAt = async (at: string, method: string, ...args: unknown[]) => { codes.add(await host.attempt('admin', at, method, ...args)) }
  const attempt = async (method: string, ...args: unknown[]) => await attemptAt('main', method, ...args)
  const mood = async (more: object) => await host.call('mood', more)
  const password = (around = UNICODE) => mark('password', around)

  async function createUser (known = password()) {
    const username = mark('username')
    const { id } = await admin('createUser', { username, password: known })
    return { id: id as string, username, password: known }
  }

  async function loggedIn () {
    const user = await createUser()
    const { body } = await login(user.username, user.password)
    return { ...user, token: body.token as string }
  }

  async function open (name: string, more: object = {}): Promise<void> {
    origins[name] = await host.call('open', name, {
      database: { connectionString: database.url, statement_timeout: 1500, lock_timeout: 0, connectionTimeoutMillis: 30_000, idleTimeoutMillis: 0 },
      redis: { url: redis.url, commandTimeout: 3000 },
      autoMigrate: true,
      // Long time limits, so that the errors come from the database or Redis and not from timeouts on a busy machine.
      lookup: { maxWait: '60s', timeout: '60s' },
      hashing: { maxWait: '60s' },
      cache: { namespace: redis.namespace, timeout: '3s' },
      rateLimit: { max: 100_000 },
      // A minimal delay, so that captcha answers are always verified.
      accountLimit: { delay: '100ms', maxDelay: '100ms' },
      ...more
    })
  }

  async function driveRoutes (): Promise<void> {
    const { id, username, password: known, token } = await loggedIn()
    for (const path of ['/auth/me', '/auth/sessions']) await http(path, { method: 'GET', token })
    await http(`/auth/sessions/${id}`, { method: 'DELETE', token })
    await http('/auth/me', { method: 'GET', token: `${token.slice(0, -1)}x` })
    await http('/auth/me', { method: 'GET', headers: { authorization: `Basic ${token}` } })
    await login(username, password(QUOTED))
    await login(mark('typed name'), password(LONG))
    for (const wrong of [password(LONG), password(QUOTED)]) await change(token, wrong, password())
    await change(token, known, username)
    await change(token, known, known)
    await change(token, known, 'password123')
    await change(token, known, password(() => randomBytes(4).toString('hex').slice(0, 7)))
    const changed = await change(token, known, password(LONG))
    await http('/auth/logout', { token: changed.body.token })
    await http('/auth/me', { method: 'GET', token: changed.body.token })
    const issued = await admin('issueToken', id, { scopes: ['orders'], label: 'CI' })
    await http('/auth/sessions', { method: 'GET', token: issued.token })
    await http('/auth/logout-all', { token: (await admin('issueToken', id)).token })
    await attempt('revokeToken', issued.token)
    await attempt('setActive', id, false)
    await login(username, known)
  }

  async function driveBadBodies (): Promise<void> {
    const { username, token } = await loggedIn()
    const bad = (core: string): [string, string | object][] => [
      ['NUL', { username: `${core}\0`, password: `${core}\0` }],
      ['surrogate', `{"username":"${core}","password":"${core}\\ud800"}`],
      ['long', { username: core.repeat(20), password: core.repeat(60) }],
      ['type', { username: [core], password: { is: core } }],
      ['extra', { username: core, password: core, secret: core, [core]: core }],
      ['missing', { password: core }],
      ['malformed', `{"username":"${username}","password":"${core}`],
      ['no JSON', core],
      ['poisoned', `{"__proto__":{"password":"${core}"},"username":"x","password":"${core}"}`],
      ['large', { username: 'x', password: core.repeat(2000) }]
    ]
    for (const path of ['/auth/login', '/auth/change-password', '/auth/logout']) {
      for (const [, body] of bad(password((core) => core))) {
        await http(path, { token, raw: typeof body === 'string' ? body : JSON.stringify(body).replaceAll('username', path.endsWith('login') ? 'username' : 'currentPassword').replaceAll('"password"', path.endsWith('login') ? '"password"' : '"newPassword"') })
      }
      await http(path, { token, raw: `password=${password((core) => core)}`, headers: { 'content-type': 'application/x-www-form-urlencoded' } })
      await http(path, { token, raw: `x ${password()}`, headers: { 'content-type': 'text/plain' } })
    }
  }

  async function drivePolicy (): Promise<void> {
    const { id, password: known, token } = await loggedIn()
    await mood({ check: 'throws' })
    await change(token, known, password(QUOTED))
    await refused('setPassword', id, password(LONG))
    await refused('createUser', { username: mark('typed name'), password: password() })
    await mood({ check: 'refuses' })
    await change(token, known, password())
    await mood({ check: 'is content' })
    for (const mode of ['is broken', 'is no list']) {
      breached.mode = mode
      await attempt('setPassword', id, password(LONG))
    }
    breached.mode = 'knows nothing'
  }

  async function driveHashers (): Promise<void> {
    const { id, username, password: known, token } = await loggedIn()
    await mood({ hash: 'throws' })
    await change(token, known, password(QUOTED))
    await refused('setPassword', id, password(LONG))
    await mood({ rehash: 'yes' })
    await login(username, known)
    for (const verify of ['throws', 'throws the hash']) {
      await mood({ verify })
      await login(username, known)
      await login(mark('typed name'), password(QUOTED))
    }
    await mood({ hash: 'works', verify: 'works' })
    await database.run('create function refuse_row () returns trigger language plpgsql as $$ begin raise exception \'row %\', new using detail = new::text; end $$')
    await database.run('create trigger refuse before update of password_hash on users for each row execute function refuse_row()')
    await login(username, known)
    await change(token, known, password())
    await database.run('drop trigger refuse on users')
    await mood({ rehash: 'no' })
  }

  async function driveCaptcha (): Promise<void> {
    const options = { url: providerUrl, hostnames: ['example.com'] }
    await open('recaptcha', { captchaBy: 'recaptcha', captchaOptions: { ...options, secret: keys.captcha } })
    await open('enterprise', { captchaBy: 'recaptchaEnterprise', captchaOptions: { ...options, apiKey: keys.enterprise, projectId: 'project', siteKey: 'site' } })
    await open('own', { captchaBy: 'own' })
    const solve = async (at: string, captchaToken = mark('captcha answer')) => await login(mark('typed name'), password(), { captchaToken }, at)
    const refusals = ['refuses', 'quotes', 'names another host', 'refuses the question', 'does not know us', 'forbids']
    const failures = ['is broken', 'redirects', 'is no JSON', 'is no HTTP']
    for (const at of ['recaptcha', 'enterprise']) {
      // In an outage the plugin sends no more requests after five failures.
      for (provider.mode of [...refusals, ...failures, 'refuses', 'hangs up']) await solve(at)
    }
    for (const captcha of ['throws', 'throws a code', 'quotes', 'is the reason']) {
      await mood({ captcha })
      await solve('own')
      await solve('own', mark('captcha answer', (core) => `"${core}" %\u00fc`))
    }
    const answer = mark('captcha answer')
    for (let i = 0; i < 2; i++) await solve('recaptcha', answer)
    await login(mark('typed name'), password(), {}, 'recaptcha')
    await login(mark('typed name'), password(), { captchaToken: `${answer}\0` }, 'recaptcha')
  }

  async function driveAdmin (): Promise<void> {
    const { id, username } = await createUser()
    await refused('createUser', { username, password: password() })
    await refused('createUser', { username: `${mark('typed name')}\0`, password: password() })
    // Swapped arguments.
    for (const method of ['setPassword', 'setActive', 'deleteUser', 'issueToken']) await refused(method, password(QUOTED), method === 'setActive' ? false : id)
    await database.run('alter table users add column note text not null default \'\' check (length(note) < 9), add column code varchar(5), add column age integer')
    const fields: Record<string, unknown>[] = [{ note: password() }, { note: null }, { code: password() }, { age: password() }, { nowhere: password() }]
    for (const field of fields) await refused('createUser', { username: mark('typed name'), password: password(), fields: field })
    await database.run('create trigger refuse before insert on users for each row execute function refuse_row()')
    await refused('createUser', { username: mark('typed name'), password: password() })
    await database.run('drop trigger refuse on users')
    await database.run('create trigger refuse before insert on auth_tokens for each row execute function refuse_row()')
    await refused('issueToken', id)
    await database.run('drop trigger refuse on auth_tokens')
    await attempt('revokeToken', mark('token'))
    await attempt('deleteUser', id)
  }

  /** Uses every feature that needs Redis a few times: after five failures the plugin stops sending commands. */
  async function driveWithRedis (fault: string, begin: () => Promise<unknown>, end: () => Promise<unknown>): Promise<void> {
    const { username, password: known, token } = await loggedIn()
    const other = await loggedIn()
    await http('/auth/me', { method: 'GET', token })
    await begin()
    await http('/auth/me', { method: 'GET', token: other.token })
    await http('/auth/me', { method: 'GET', token })
    await Promise.all([login(username, known), login(mark('typed name'), password(LONG)), http('/auth/logout', { token })])
    await end()
    await until(async () => {
      await http('/auth/me', { method: 'GET', token: other.token })
      await login(other.username, other.password)
      return (await admin('health')).cache === 'up'
    }, `the cache is used again: ${fault}`)
  }

  async function driveRedisFaults (): Promise<void> {
    const config = async (name: string, value: string) => await redis.admin.config('SET', name, value)
    await driveWithRedis('OOM', async () => { await config('maxmemory', '1') }, async () => { await config('maxmemory', '0') })
    await driveWithRedis('READONLY', async () => { await redis.admin.replicaof('127.0.0.1', 1) }, async () => { await redis.admin.replicaof('NO', 'ONE') })
    const acl = async (...rules: string[]) => await redis.admin.call('ACL', 'SETUSER', 'default', ...rules)
    await driveWithRedis('NOPERM', async () => { await acl('-eval', '-set', '-get') }, async () => { await acl('+@all') })
    await driveWithRedis('foreign types', async () => {
      await redis.look()
      for (const key of await redis.admin.keys('*')) await redis.admin.multi().del(key).lpush(key, 'foreign').exec()
    }, async () => { await redis.admin.flushall() })
    await driveWithRedis('frozen', async () => { redis.freeze() }, async () => { redis.thaw() })
    await driveWithRedis('killed', async () => {
      await redis.kill()
      await until(() => (ledger.texts.get('stdout') ?? []).join('').includes('ECONNREFUSED'), 'the servers have detected it')
    }, redis.start)
  }

  /** Uses every feature that needs the database. */
  async function driveWithDatabase ({ username, password: known, token, id }: Awaited<ReturnType<typeof loggedIn>>, at = 'main'): Promise<void> {
    await Promise.all([
      login(username, known, {}, at),
      login(mark('typed name'), password(QUOTED), {}, at),
      change(token, known, password(), at),
      attemptAt(at, 'createUser', { username: mark('typed name'), password: password() }),
      attemptAt(at, 'setPassword', id, password(LONG)),
      attemptAt(at, 'revokeToken', token),
      attemptAt(at, 'issueToken', id),
      http('/auth/logout', { token, at })
    ])
  }

  /** Terminates connections while a statement that is not retried waits for a lock. */
  async function cutOff (user: Awaited<ReturnType<typeof loggedIn>>): Promise<void> {
    await open('patient', { database: { connectionString: database.url, statement_timeout: 0, lock_timeout: 0, connectionTimeoutMillis: 30_000 } })
    let replies = Promise.resolve()
    await database.locked('users', async () => {
      replies = driveWithDatabase(user, 'patient')
      await until(async () => await database.waits('insert into'), 'the new user waits')
      await database.terminate()
      await until(async () => !await database.waits('insert into'), 'the new user waits no longer')
    })
    await replies
  }

  async function driveDatabaseFaults (): Promise<void> {
    for (const table of ['users', 'auth_tokens']) {
      const user = await loggedIn()
      await database.run(`alter table ${table} rename to away`)
      await Promise.all([login(user.username, user.password), change(user.token, user.password, password()), attempt('issueToken', user.id), attempt('revokeToken', user.token)])
      await database.run(`alter table away rename to ${table}`)
    }
    const [slow, cut, reading, gone] = [await loggedIn(), await loggedIn(), await loggedIn(), await loggedIn()]
    await database.locked('users', async () => { await driveWithDatabase(slow) })
    await cutOff(cut)
    await database.readOnly(true)
    // The pool may use terminated connections first.
    await until(async () => {
      await driveWithDatabase(reading)
      return (ledger.texts.get('errors') ?? []).join('').includes('read-only transaction')
    }, 'the database is read-only')
    await database.readOnly(false)
    await database.reachable(false)
    await driveWithDatabase(gone)
    await redis.kill()
    await driveWithDatabase(gone)
    await http('/auth/me', { method: 'GET', token: gone.token })
    await database.reachable(true)
    await redis.start()
    await until(async () => (await admin('health')).cache === 'up', 'both are back')
  }

  async function driveBadOptions (): Promise<void> {
    const good = { database: { connectionString: database.url } }
    const lost = (kind: string, before: string, after: string) => `${before}${mark(kind)}${after}`
    const bad: object[] = [
      { database: lost('database password', 'postgres://u:', '@127.0.0.1/db') },
      { database: { connectionString: [lost('database password', 'postgres://u:', '@127.0.0.1/db')] } },
      { database: { connectionString: lost('database password', 'postgres://u:%', '@127.0.0.1/db') } },
      { database: { connectionString: lost('database password', 'postgres://u:a/', '@127.0.0.1/db') } },
      { database: { connectionString: lost('database password', 'postgres://u:', '@127.0.0.1:1/db') } },
      { database: { connectionString: lost('database password', 'postgres://u:', '@127.0.0.1/db'), query_timeout: 1 } },
      { database: { host: '127.0.0.1', port: 1, user: 'u', password: mark('database password') } },
      { ...good, redis: lost('Redis password', 'redis://:', '@127.0.0.1:1') },
      { ...good, redis: { url: [lost('Redis password', 'redis://:', '@127.0.0.1:1')] } },
      { ...good, redis: { url: lost('Redis password', 'redis://:', '@127.0.0.1:1/nowhere') } },
      { ...good, redis: { url: lost('Redis password', 'redis://:', '@127.0.0.1:1'), maxRetriesPerRequest: 3 } },
      { ...good, captcha: mark('captcha secret') },
      { ...good, captcha: { secret: mark('captcha secret') } },
      { ...good, hasher: mark('password'), hasParts: false },
      ...[lost('captcha secret', 'a space ', ''), [mark('captcha secret')], { is: mark('captcha secret') }].map((secret) => ({ ...good, captchaBy: 'recaptcha', captchaOptions: { secret } })),
      { ...good, captchaBy: 'recaptcha', captchaOptions: mark('captcha secret') },
      { ...good, captchaBy: 'recaptcha', captchaOptions: { secret: mark('captcha secret'), url: lost('captcha secret', 'https://u:', '@example.com/') } },
      { ...good, captchaBy: 'recaptchaEnterprise', captchaOptions: { apiKey: lost('API key', '', ' '), projectId: 'p', siteKey: 's' } },
      { ...good, breachedUrl: lost('API key', 'https://u:', '@example.com/') }
    ]
    for (const options of bad) codes.add(await host.fail('open', 'bad', options))
    // A Redis that refuses the password counts as unreachable, and the server still starts.
    const refusing = new URL(redis.url)
    refusing.password = mark('Redis password')
    await open('refused', { redis: { url: refusing.href } })
  }

  async function spawned (args: string[], env: Record<string, string>) {
    const { child, result } = spawnCli(t, args, env)
    child.stdin.end(`${password()}\n`)
    return { result: await result, args }
  }

  async function failing (args: string[], env: Record<string, string>) {
    return { result: await cli(args, { env, stdin: `${password()}\n` }), args }
  }

  async function driveCommands (): Promise<void> {
    const { username } = await createUser()
    await database.run('create trigger refuse before insert or update of password_hash on users for each row execute function refuse_row()')
    const env = { DATABASE_URL: database.url, REDIS_URL: redis.url }
    const runs = await Promise.all([
      spawned(['set-password', username], env),
      failing(['create-user', mark('username')], { DATABASE_URL: `postgres://u:${mark('database password')}@127.0.0.1:1/db` }),
      failing(['set-password', username], { DATABASE_URL: `a b://u:${mark('database password')}@h` }),
      failing(['set-password', username], { ...env, REDIS_URL: `a b://:${mark('Redis password')}@h` }),
      failing(['serve', '--memory'], { RECAPTCHA_KEY: `a b${mark('captcha secret')}` })
    ])
    for (const { result: { code, out, err }, args } of runs) {
      t.not(code, 0, `it fails: ${args.join(' ')} ${err}`)
      ledger.see('command line', out + err)
    }
    await database.run('drop trigger refuse on users')
  }

  /** Drives that are independent of each other. */
  async function driveApart (): Promise<void> {
    await Promise.all([driveCaptcha(), driveBadOptions(), driveCommands()])
  }

  const plants: [string, string][] = []

  /** Puts a value into every place, so that the test fails if a place is not searched. */
  async function plant (): Promise<void> {
    const at = (place: string) => {
      const text = mark(`planted for ${place}`)
      plants.push([place, text])
      return text
    }
    await mood({ hooks: 'return' })
    await host.call('plant', at('stdout'))
    await host.call('plant', at('stderr'))
    await host.call('plant', at('events'))
    await http(`/planted/${at('replies')}`, { method: 'GET' })
    await http(`/planted/${at('errors')}`, { method: 'GET' })
    const { admin } = redis
    await admin.set(at('redis keys'), '')
    for (const [i, write] of [
      (text: string) => admin.set('planted0', text),
      (text: string) => admin.hset('planted1', 'field', text),
      (text: string) => admin.lpush('planted2', text),
      (text: string) => admin.sadd('planted3', text),
      (text: string) => admin.zadd('planted4', 1, text),
      (text: string) => admin.xadd('planted5', '*', 'field', text)
    ].entries()) await write(at('redis values') + i)
    await admin.echo(at('redis monitor'))
    await admin.echo(at('redis slowlog'))
    await database.run(`create table planted as select '${at('sql planted.words')}' as words, convert_to('${at('sql planted.bytes')}', 'UTF8') as bytes, array['${at('sql planted.list')}'] as list`)
    ledger.see('command line', (await cli([at('command line')])).err)
  }

  async function look (): Promise<void> {
    const { events, errors, openapi } = await host.call('report')
    for (const [place, texts] of Object.entries({ events, errors, openapi })) ledger.see(place, (texts as string[]).join('\n'))
    await until(() => (ledger.texts.get('redis monitor') ?? []).join('').includes(plants.find(([place]) => place === 'redis monitor')![1]), 'MONITOR has sent everything')
    await redis.look()
    for (const { password_hash: hash } of await database.run('select password_hash from users where password_hash is not null')) ledger.marks.push({ kind: 'password hash', value: hash, core: hash.slice(-31) })
    const [{ value }] = await database.run('select value from auth_tokens_server_key')
    ledger.marks.push({ kind: 'key of the pseudonyms', value, core: null })
    await database.look(ledger.see)
    await host.call('close')
    await host.end()
  }

  const openapiPlant = mark('planted for openapi')
  plants.push(['openapi', openapiPlant])
  await open('main', { breachedUrl, plant: openapiPlant, password: { contextWords: ['acme'] } })
  await mood({ hooks: 'throw' })
  for (const drive of [driveRoutes, driveBadBodies, drivePolicy, driveHashers, driveApart, driveAdmin, driveRedisFaults, driveDatabaseFaults, plant, look]) {
    const began = performance.now()
    await drive()
    t.comment(`${drive.name}: ${Math.round(performance.now() - began)} ms`)
  }

  const places = [...ledger.texts].map(([name, texts]) => ({ name, text: texts.join(name === 'redis monitor' || name.startsWith('std') ? '' : '\n') }))
  const planted = ledger.marks.filter(({ kind }) => kind.startsWith('planted'))
  t.test('every place is searched', async (t) => {
    for (const [place, text] of plants) {
      const found = createFinder(planted)(places.find(({ name }) => name === place)?.text ?? '')
      t.ok([...found.keys()].some(({ value }) => value === text), place)
    }
  })

  t.test('every expected failure occurred', async (t) => {
    const of = (name: string) => places.find((place) => place.name === name)?.text ?? ''
    for (const name of [
      'UNAUTHENTICATED', 'INVALID_TOKEN', 'INVALID_CREDENTIALS', 'INVALID_INPUT', 'WRONG_PASSWORD', 'CAPTCHA_REFUSED', 'CAPTCHA_UNAVAILABLE',
      'INSUFFICIENT_SCOPE', 'SESSION_NOT_FOUND', 'PASSWORD_TOO_SHORT', 'PASSWORD_HAS_USERNAME', 'PASSWORD_UNCHANGED', 'PASSWORD_COMMON',
      'PASSWORD_REFUSED', 'UNAVAILABLE', 'INVALID_USERNAME', 'USERNAME_TAKEN', 'INVALID_OPTION', 'DATABASE_UNREACHABLE'
    ]) t.ok(codes.has(`FST_TOKEN_AUTH_${name}`), name)
    for (const name of ['FST_ERR_VALIDATION', 'FST_ERR_CTP_INVALID_JSON_BODY', 'FST_ERR_CTP_INVALID_MEDIA_TYPE', 'FST_ERR_CTP_BODY_TOO_LARGE']) t.ok(codes.has(name), name)
    for (const message of [
      'Redis does not count failed logins', 'Redis does not count logins', 'the token cache does not answer', 'Redis cannot be reached', 'Redis is back',
      'captcha: the provider cannot be reached', 'captcha: the secret or another option is wrong', 'New passwords are accepted without', 'a password hash could not be upgraded',
      'an event hook failed', 'an idle database connection broke'
    ]) t.ok(of('stdout').includes(message), message)
    for (const reason of ['Redis answered OOM', 'Redis answered READONLY', 'Redis answered NOPERM']) t.ok(of('events').includes(reason), reason)
    for (const message of ['canceling statement due to statement timeout', 'terminating connection', 'read-only transaction', 'does not exist']) t.ok(of('errors').includes(message), message)
  })

  t.same(findLeaks(places, ledger.marks.filter((mark) => !planted.includes(mark))), [], 'there are no leaks')
})
