import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { sql } from 'kysely'
import t from 'tap'
import type { Test } from 'tap'
import { bcrypt, haveIBeenPwned, recaptcha } from '../../lib/index.js'
import type { AuthEvents, AuthPluginOptions, Captcha, Hasher } from '../../lib/index.js'
import { caller, createApp, createUser, fastHasher, login, PASSWORD, testOptions } from '../helpers/app.js'
import { startServer } from '../helpers/processes.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { openKysely } from '../helpers/pools.js'
import { answerJson, startStub } from '../helpers/stub.js'

const database = await createDatabase()
t.teardown(database.drop)
const db = openKysely(t, database.url)

function options (more: Partial<AuthPluginOptions> = {}): AuthPluginOptions {
  return testOptions(database.url, more)
}

/** A provider that answers with the result of `answer` and records the requests. */
async function provider (t: Test, answer: (form: URLSearchParams) => object) {
  const asked: URLSearchParams[] = []
  const { origin } = await startStub(t, (response, { body }) => {
    const form = new URLSearchParams(body)
    asked.push(form)
    answerJson(response, answer(form))
  })
  return { url: `${origin}/siteverify`, asked }
}

const solved = () => ({ success: true, challenge_ts: new Date().toISOString(), hostname: 'example.com' })

async function storedHash (username: string): Promise<string | null> {
  const { rows } = await sql<{ password_hash: string | null }>`select password_hash from users where username = ${username}`.execute(db)
  return rows[0]!.password_hash
}

async function storeHash (username: string, hash: string | null): Promise<void> {
  await sql`update users set password_hash = ${hash} where username = ${username}`.execute(db)
}

t.test('captcha', async (t) => {
  const body = (username: string, captchaToken?: string, password = PASSWORD) => ({ body: { username, password, ...(captchaToken === undefined ? {} : { captchaToken }) } })

  t.test('is verified after the rate limit and the schema, and before the lookup and the hash', async (t) => {
    const steps: string[] = []
    const captcha: Captcha = { async verify () { steps.push('captcha'); return { ok: false, reason: 'no' } } }
    const hasher: Hasher = { ...fastHasher, async verify (...args) { steps.push('hash'); return await fastHasher.verify(...args) } }
    const app = await createApp(t, options({ captcha, hasher, rateLimit: { max: 3 } }))
    const call = caller(app)
    const { username } = await createUser(app)
    t.equal((await call('POST', '/auth/login', body(username))).statusCode, 400, 'the captcha is missing')
    t.equal((await call('POST', '/auth/login', body('', 'answer'))).statusCode, 400)
    t.same(steps, [])
    t.equal((await call('POST', '/auth/login', body(username, 'answer'))).json().code, 'FST_TOKEN_AUTH_CAPTCHA_REFUSED')
    t.same(steps, ['captcha'], 'no hash, even with the right password')
    t.equal((await call('POST', '/auth/login', body(username, 'answer 2'))).statusCode, 429)
    t.same(steps, ['captcha'])
  })

  t.test('a used captcha answer is refused by another process without a request to the provider', async (t) => {
    const { url, asked } = await provider(t, solved)
    const namespace = uniqueNamespace()
    const shared = { database: { connectionString: database.url }, redis: { url: redisUrl() }, rateLimit: false as const, cache: { namespace } }
    const app = await createApp(t, options({ captcha: recaptcha({ secret: 'secret', url }), cache: { namespace } }))
    const { username } = await createUser(app)
    const other = await startServer(t, { ...shared, testCaptcha: { secret: 'secret', url } })
    t.equal((await caller(app)('POST', '/auth/login', body(username, 'the answer'))).statusCode, 200)
    const replayed = await fetch(`${other}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body(username, 'the answer').body) })
    t.equal(replayed.status, 403)
    t.match(await replayed.json(), { code: 'FST_TOKEN_AUTH_CAPTCHA_REFUSED' })
    t.equal(asked.length, 1)
    const fresh = await fetch(`${other}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body(username, 'a new answer').body) })
    t.equal(fresh.status, 200)
  })

  t.test('a hundred concurrent logins with one captcha answer cause one request to the provider', async (t) => {
    const { url, asked } = await provider(t, solved)
    const app = await createApp(t, options({ captcha: recaptcha({ secret: 'secret', url }) }))
    const { username } = await createUser(app)
    const replies = await Promise.all(Array.from({ length: 100 }, () => caller(app)('POST', '/auth/login', body(username, 'one answer'))))
    t.equal(replies.filter(({ statusCode }) => statusCode === 200).length, 1)
    t.equal(asked.length, 1)
  })

  t.test('a wrong secret in the configuration is logged as a configuration error and answered 503', async (t) => {
    const { url } = await provider(t, () => ({ success: false, 'error-codes': ['invalid-input-secret'] }))
    const lines: string[] = []
    const stream = new PassThrough().on('data', (line) => lines.push(String(line)))
    const captcha = recaptcha({ secret: 'not-the-right-one', url, onUnavailable: 'allow' })
    const app = await createApp(t, options({ captcha }), { server: { logger: { level: 'error', stream } } })
    const { username } = await createUser(app)
    const reply = await caller(app)('POST', '/auth/login', body(username, 'answer'))
    t.equal(reply.json().code, 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE')
    t.match(lines.join(''), /captcha\.secret is wrong/)
    t.notMatch(lines.join(''), /not-the-right-one/)
  })

  t.test('a wrong URL or secret does not count as an outage of the provider', async (t) => {
    for (const [status, reply] of [[401, {}], [403, {}], [404, {}], [302, {}], [400, { success: false, 'error-codes': ['invalid-input-secret'] }]] as const) {
      const { origin: url } = await startStub(t, (response) => answerJson(response, reply, status, { location: '/' }))
      const app = await createApp(t, options({ captcha: recaptcha({ secret: 'secret', url, onUnavailable: 'allow' }) }))
      const { username } = await createUser(app)
      t.equal((await caller(app)('POST', '/auth/login', body(username, 'answer'))).json().code, 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', String(status))
    }
  })

  t.test('after-failures requires a captcha after failed logins, also for unknown usernames', async (t) => {
    const { url, asked } = await provider(t, solved)
    const app = await createApp(t, options({ captcha: recaptcha({ secret: 'secret', url, when: 'after-failures', afterFailures: 2 }) }))
    const { username } = await createUser(app)
    const call = caller(app)
    for (const name of [username, 'nobody here']) {
      t.equal((await call('POST', '/auth/login', body(name, undefined, 'wrong'))).statusCode, 401)
      t.equal((await call('POST', '/auth/login', body(name, undefined, 'wrong'))).statusCode, 401)
      for (let i = 0; i < 10; i++) t.equal((await call('POST', '/auth/login', body(name))).json().code, 'FST_TOKEN_AUTH_CAPTCHA_REQUIRED')
      t.equal((await call('POST', '/auth/login', body(name, `answer of ${name}`, 'wrong'))).statusCode, 401)
    }
    t.equal(asked.length, 2)
    t.equal((await call('POST', '/auth/login', body(username, 'solved'))).statusCode, 200)
    t.equal((await call('POST', '/auth/login', body(username))).statusCode, 200, 'the failures are cleared')
  })

  t.test('an unreachable provider causes 503, or onUnavailable: allow accepts logins after few failures', async (t) => {
    const away = { secret: 'secret', url: 'http://127.0.0.1:1/' }
    const closed = await createApp(t, options({ captcha: recaptcha(away) }))
    const { username } = await createUser(closed)
    const refused = await caller(closed)('POST', '/auth/login', body(username, 'answer'))
    t.equal(refused.json().code, 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE')
    const open = await createApp(t, options({ captcha: recaptcha({ ...away, onUnavailable: 'allow' }) }))
    const call = caller(open)
    for (let i = 0; i < 3; i++) t.equal((await call('POST', '/auth/login', body('nobody', `answer ${i}`))).statusCode, 401)
    t.equal((await call('POST', '/auth/login', body('nobody', 'answer 3'))).json().code, 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE')
    t.equal((await call('POST', '/auth/login', body(username, 'answer 4'))).statusCode, 200)
  })

  t.test('the option accepts a function', async (t) => {
    const app = await createApp(t, options({ captcha: async (answer, { ip }) => answer === `I am at ${ip}` }))
    const { username } = await createUser(app)
    t.equal((await caller(app)('POST', '/auth/login', body(username, 'I am at 127.0.0.1'))).statusCode, 200)
    t.equal((await caller(app)('POST', '/auth/login', body(username, 'I am at home'))).statusCode, 403)
  })
})

t.test('users of a Django database can log in', async (t) => {
  const users = JSON.parse(readFileSync('test/fixtures/django-users.json', 'utf8')) as { username: string, password: string | null, encoded: string }[]
  const app = await createApp(t, options({ hasher: bcrypt({ cost: 4 }) }))
  const logIn = async (username: string, password: string) => (await caller(app)('POST', '/auth/login', { body: { username, password } })).statusCode
  for (const { username, encoded } of users) {
    const { id } = await app.tokenAuth.createUser({ username, password: null })
    await storeHash(username, encoded)
    if (username === 'heidi') await app.tokenAuth.setActive(id as string, false)
  }
  for (const { username, password, encoded } of users) {
    await t.test(`${username}, ${encoded.split('$', 1)[0]}`, async (t) => {
      const isCutOff = encoded.startsWith('bcrypt$') && Buffer.byteLength(password!) > 72
      t.equal(await logIn(username, `${password}!`), isCutOff ? 200 : 401, 'a wrong password')
      t.equal(await storedHash(username), encoded, 'and the hash is not rewritten')
      const canLogIn = username !== 'heidi' && password !== null && !encoded.startsWith('md5$')
      t.equal(await logIn(username, password ?? 'any'), canLogIn ? 200 : 401, 'the right one')
      if (!canLogIn || isCutOff) return t.equal(await storedHash(username), encoded, 'a hash is not replaced if it does not prove the whole password')
      await until(async () => /^\$2b\$04\$/.test(await storedHash(username) ?? ''), 'the hash is upgraded')
      t.equal(await logIn(username, password), 200, 'again')
      t.equal(await logIn(username, `${password}!`), 401)
    })
  }
})

t.test('the upgrade of a hash', async (t) => {
  t.test('does not delay the answer, and close() waits for it', async (t) => {
    let release = () => {}
    const held = new Promise<void>((resolve) => { release = resolve })
    let hashes = 0
    const hasher: Hasher = {
      ...fastHasher,
      async hash (password) {
        if (++hashes > 2) await held
        return await fastHasher.hash(password)
      },
      needsRehash: (hash) => !hash.endsWith('new')
    }
    const app = await createApp(t, options({ hasher, hashing: { concurrency: 2 } }))
    const { username } = await createUser(app)
    const before = await storedHash(username)
    await login(app, username)
    t.equal(await storedHash(username), before)
    const closed = app.close()
    release()
    await closed
    t.not(await storedHash(username), before)
  })

  t.test('that fails changes nothing', async (t) => {
    let hashes = 0
    const hasher: Hasher = {
      ...fastHasher,
      async hash (password) {
        if (++hashes > 2) throw new Error('no memory')
        return await fastHasher.hash(password)
      },
      needsRehash: () => true
    }
    const app = await createApp(t, options({ hasher }))
    const { username } = await createUser(app)
    const before = await storedHash(username)
    await login(app, username)
    await login(app, username)
    await until(() => hashes >= 3, 'it was attempted')
    await app.close()
    t.equal(await storedHash(username), before)
  })

  t.test('never overwrites a password that was set meanwhile', async (t) => {
    let release = () => {}
    const held = new Promise<void>((resolve) => { release = resolve })
    let isHeld = false
    const hasher: Hasher = {
      ...fastHasher,
      async hash (password) {
        if (isHeld && password === PASSWORD) await held
        return await fastHasher.hash(password)
      },
      needsRehash: () => true
    }
    const app = await createApp(t, options({ hasher, hashing: { concurrency: 4 } }))
    const { id, username } = await createUser(app)
    isHeld = true
    const token = await login(app, username)
    await app.tokenAuth.setPassword(id as string, 'set by the administrator')
    const changed = await storedHash(username)
    release()
    await app.close()
    t.equal(await storedHash(username), changed)
    t.ok(token)
  })

  t.test('does not fail a concurrent login that read the old hash', async (t) => {
    const app = await createApp(t, options({ hasher: bcrypt({ cost: 5 }) }))
    const { username } = await createUser(app)
    await storeHash(username, await fastHasher.hash(PASSWORD))
    const logIn = async () => (await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode
    const seen = await Promise.all(Array.from({ length: 5 }, logIn))
    seen.push(...await Promise.all(Array.from({ length: 5 }, logIn)))
    t.same(seen, Array(10).fill(200))
    await until(async () => /^\$2b\$05\$/.test(await storedHash(username) ?? ''), 'the hash is upgraded')
  })

  t.test('that happens twice during one login fails that login', async (t) => {
    let username = ''
    const hasher: Hasher = {
      ...fastHasher,
      async verify (password, hash) {
        const isRight = await fastHasher.verify(password, hash)
        if (isRight && username !== '') await storeHash(username, await fastHasher.hash(PASSWORD))
        return isRight
      }
    }
    const app = await createApp(t, options({ hasher }))
    username = (await createUser(app)).username
    t.equal((await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode, 401)
  })

  t.test('between the verification of the current password and its change does not fail the change', async (t) => {
    let isFirst = true
    let username = ''
    const hasher: Hasher = {
      ...fastHasher,
      async verify (password, hash) {
        const isRight = await fastHasher.verify(password, hash)
        if (isRight && isFirst && username !== '') {
          isFirst = false
          await storeHash(username, await fastHasher.hash(PASSWORD))
        }
        return isRight
      }
    }
    const app = await createApp(t, options({ hasher }))
    username = (await createUser(app)).username
    const token = await login(app, username)
    t.notOk(isFirst, 'an upgrade happened during the login too')
    isFirst = true
    const changed = await caller(app)('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'another long password' } })
    t.equal(changed.statusCode, 200)
    t.notOk(isFirst)
  })

  t.test('that conflicts with another change each time is given up', async (t) => {
    let username = ''
    const hasher: Hasher = {
      ...fastHasher,
      async verify (password, hash) {
        const isRight = await fastHasher.verify(password, hash)
        if (username !== '') await storeHash(username, await fastHasher.hash(PASSWORD))
        return isRight
      }
    }
    const app = await createApp(t, options({ hasher }))
    const name = (await createUser(app)).username
    const token = await login(app, name)
    username = name
    t.equal((await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })).statusCode, 401)
    const changed = await caller(app)('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'another long password' } })
    t.equal(changed.json().code, 'FST_TOKEN_AUTH_WRONG_PASSWORD')
  })
})

t.test('new passwords', async (t) => {
  const breached = await (async () => {
    const { origin } = await startStub(t, (response) => { response.writeHead(200, { 'content-type': 'text/plain' }).end('AF5AF6B3F9C6AF4B94D2AB61B3EF1E2BE16:3\r\n') })
    return haveIBeenPwned({ url: `${origin}/range/` })
  })()
  const app = await createApp(t, options({
    password: { minLength: 10, maxLength: 64, contextWords: ['acme'], breached, check: (password) => password.includes('\t') ? 'no tabs, please' : null }
  }))
  const refused: [string, string, number][] = [
    ['a short 1', 'TOO_SHORT', 400],
    ['x'.repeat(65), 'TOO_LONG', 400],
    ['my acme password', 'HAS_CONTEXT_WORD', 400],
    ['alexandra.smith', 'HAS_USERNAME', 400],
    ['1234567890', 'COMMON', 400],
    ['tab\tin the middle', 'REFUSED', 400]
  ]

  t.test('change-password names the violated rule, and changes nothing', async (t) => {
    await app.tokenAuth.createUser({ username: 'Alexandra.Smith', password: PASSWORD })
    const token = await login(app, 'Alexandra.Smith')
    for (const [newPassword, code, status] of [...refused, [PASSWORD, 'UNCHANGED', 400] as const]) {
      const reply = await caller(app)('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword } })
      t.equal(reply.statusCode, status)
      t.equal(reply.json().code, `FST_TOKEN_AUTH_PASSWORD_${code}`, newPassword)
      t.notMatch(reply.body, newPassword)
    }
    t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 200)
  })

  t.test('createUser and setPassword reject them too', async (t) => {
    const { id } = await createUser(app, 'alexandra.smith.2')
    for (const [password, code] of refused.filter(([, code]) => code !== 'HAS_USERNAME')) {
      await t.rejects(app.tokenAuth.createUser({ username: 'new', password }), { code: `FST_TOKEN_AUTH_PASSWORD_${code}` })
      await t.rejects(app.tokenAuth.setPassword(id as string, password), { code: `FST_TOKEN_AUTH_PASSWORD_${code}` })
    }
    await t.rejects(app.tokenAuth.createUser({ username: 'new.user.name', password: 'new.user.name' }), { code: 'FST_TOKEN_AUTH_PASSWORD_HAS_USERNAME' })
  })
})

t.test('users.canonicalize is applied to lookups and to new usernames', async (t) => {
  const app = await createApp(t, options({ users: { canonicalize: (name) => name.normalize('NFKC').trim().toLowerCase() } }))
  const { username } = await app.tokenAuth.createUser({ username: ' Zo\u0301fie ', password: PASSWORD })
  t.equal(username, 'z\u00f3fie')
  t.ok(await login(app, 'Z\u00d3FIE'))
  t.ok(await login(app, '\uff3ao\u0301fie'))
})

t.test('a users.canonicalize that fails causes 503, and the username is not logged', async (t) => {
  const lines: string[] = []
  const stream = { write: (line: string) => { lines.push(line) } }
  for (const canonicalize of [(name: string) => { throw new Error(`cannot read ${name}`) }, async (name: string) => name, () => 7]) {
    const app = await createApp(t, options({ users: { canonicalize: canonicalize as unknown as (name: string) => string } }), { server: { logger: { level: 'trace', stream } } })
    t.equal((await caller(app)('POST', '/auth/login', { body: { username: 'typed by mistake', password: PASSWORD } })).json().code, 'FST_TOKEN_AUTH_UNAVAILABLE')
  }
  t.notMatch(lines.join(''), /typed by mistake/)
})

t.test('events', async (t) => {
  const names = ['login', 'loginFailed', 'logout', 'passwordChanged', 'passwordChangeFailed', 'revoked', 'tokenRefused'] as const

  function listen (t: Test): { name: string, event: any }[] {
    const heard: { name: string, event: any }[] = []
    for (const name of names) {
      const listener = (event: unknown) => { heard.push({ name, event }) }
      subscribe(`fastify-token-auth:${name}`, listener)
      t.teardown(() => { unsubscribe(`fastify-token-auth:${name}`, listener) })
    }
    return heard
  }

  t.test('every failed login emits an event with its reason', async (t) => {
    const captcha: Captcha = {
      async verify (answer) {
        if (answer.startsWith('away')) throw new Error('away')
        return answer.startsWith('solved') ? { ok: true } : { ok: false, reason: 'low-score' }
      }
    }
    const app = await createApp(t, options({ captcha, rateLimit: { max: 100 }, accountLimit: { max: 2 } }), { server: { genReqId: () => 'request 7' } })
    const { id, username } = await createUser(app)
    const none = await app.tokenAuth.createUser({ username: `${username} none`, password: null })
    const heard = listen(t)
    let answers = 0
    const fails = async (name: string, reason: string, { answer = 'solved', password = 'wrong', userId = null as unknown, detail = null as unknown } = {}) => {
      heard.length = 0
      await caller(app)('POST', '/auth/login', { body: { username: name, password, captchaToken: `${answer} ${answers++}` } })
      t.match(heard, [{ name: 'loginFailed', event: { reason, userId, detail, ip: '127.0.0.1', requestId: 'request 7' } }], reason)
      return heard[0]!.event as AuthEvents['loginFailed']
    }
    const unknown = await fails('nobody', 'unknown_user')
    t.match(unknown.name, /^[\w-]{43}$/)
    t.equal((await fails('NOBODY ', 'unknown_user')).name, unknown.name, 'one username has one pseudonym')
    t.not((await fails('hunter2', 'unknown_user')).name, unknown.name)
    await fails(username, 'wrong_password', { userId: id })
    await fails(none.username, 'no_password', { userId: none.id })
    await storeHash(none.username, 'md5$x$y')
    await fails(none.username, 'unknown_hash', { userId: none.id })
    await fails('c', 'captcha_refused', { answer: 'robot', detail: 'low-score' })
    await fails('d', 'captcha_unavailable', { answer: 'away' })
    await fails(username, 'wrong_password', { userId: id })
    const blocked = caller(app)
    for (let i = 0; i < 4; i++) await blocked('POST', '/auth/login', { body: { username: 'e', password: 'wrong', captchaToken: `solved by e ${i}` } })
    await fails('e', 'account_limited')
    const inactive = await createUser(app)
    await app.tokenAuth.setActive(inactive.id as string, false)
    await fails(inactive.username, 'inactive', { userId: inactive.id, password: PASSWORD })
  })

  t.test('every step of a session emits events with its ids', async (t) => {
    const app = await createApp(t, options(), { server: { genReqId: () => 'request 8' }, routes: (app) => { app.get('/admin', { onRequest: app.authenticate.with({ scopes: ['admin'] }) }, () => 'ok') } })
    const { id: userId, username } = await createUser(app)
    const call = caller(app)
    const heard = listen(t)
    const tells = async (work: () => Promise<unknown>, ...expected: [string, object][]) => {
      heard.length = 0
      await work()
      t.match(heard, expected.map(([name, event]) => ({ name, event })))
    }
    const request = { requestId: 'request 8' }
    let token = ''
    await tells(async () => { token = await login(app, username) }, ['login', { userId, ...request, ip: '127.0.0.1' }])
    const { sessionId } = heard[0]!.event
    await tells(() => call('POST', '/auth/change-password', { token, body: { currentPassword: 'no', newPassword: 'another long password' } }),
      ['passwordChangeFailed', { reason: 'wrong_password', userId, sessionId, ip: '127.0.0.1', ...request }])
    await tells(() => call('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'short' } }),
      ['passwordChangeFailed', { reason: 'password_too_short', userId, sessionId, ...request }])
    const other = await login(app, username)
    const { sessions } = (await call('GET', '/auth/sessions', { token })).json() as { sessions: { id: string, current: boolean }[] }
    const otherId = sessions.find(({ current }) => !current)!.id
    await tells(() => call('DELETE', `/auth/sessions/${otherId}`, { token }), ['revoked', { userId, reason: 'session_deleted', count: 1, sessionId: otherId, ...request }])
    await tells(() => call('GET', '/auth/me', { token: other }), ['tokenRefused', { reason: 'not_live', userId: null, sessionId: null, ip: '127.0.0.1', ...request }])
    await tells(() => call('GET', '/auth/me', { token: 'nonsense' }), ['tokenRefused', { reason: 'malformed', ...request }])
    await tells(() => call('POST', '/auth/logout', { token: 'nonsense' }), ['tokenRefused', { reason: 'malformed', ...request }])
    const { token: limited, sessionId: limitedId } = await app.tokenAuth.issueToken(userId as string, { scopes: ['read'] })
    await tells(() => call('POST', '/auth/logout-all', { token: limited }), ['tokenRefused', { reason: 'insufficient_scope', userId, sessionId: limitedId, ip: '127.0.0.1', ...request }])
    await tells(() => app.inject({ url: '/admin', headers: { authorization: `Bearer ${limited}` } }), ['tokenRefused', { reason: 'insufficient_scope', userId, sessionId: limitedId, ...request }])
    await tells(() => call('POST', '/auth/logout', { token }),
      ['logout', { userId, sessionId, ...request }], ['revoked', { reason: 'logout', count: 1, sessionId, ...request }])
  })

  t.test('a hook that throws, rejects or hangs does not change any answer', async (t) => {
    const lines: string[] = []
    const throwing = () => { throw new Error('the hook is broken') }
    const unspeakable = () => { throw Object.defineProperty(new Error(), 'message', { get () { throw new Error('not even that') } }) }
    const app = await createApp(t, options({
      hooks: { onLogin: unspeakable, onLoginFailed: async () => throwing(), onRevoked: () => new Promise(() => {}), onLogout: () => new Promise(() => {}), onTokenRefused: throwing }
    }), { server: { logger: { level: 'error', stream: { write: (line: string) => { lines.push(line) } } } } })
    const { username } = await createUser(app)
    const token = await login(app, username)
    t.equal((await caller(app)('POST', '/auth/login', { body: { username, password: 'wrong' } })).statusCode, 401)
    t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
    t.equal((await caller(app)('GET', '/auth/me', { token })).statusCode, 401)
    await until(() => lines.some((line) => line.includes('an error that cannot be logged')), 'the failure is logged')
  })
})

t.test('a captcha result determines the status', async (t) => {
  const answers: Record<string, Captcha['verify']> = {
    good: async () => ({ ok: true }),
    bad: async () => ({ ok: false, reason: 'timeout-or-duplicate' }),
    rejecting: async () => { throw new Error('away') },
    throwing: () => { throw new Error('a fault of the provider') },
    hanging: () => new Promise(() => {})
  }
  const host = await createApp(t, testOptions(database.url, { captcha: { verify: (answer, context) => answers[answer]!(answer, context) } }))
  const { username } = await createUser(host)
  const attempt = async (captchaToken?: string) => await caller(host)('POST', '/auth/login', { body: { username, password: PASSWORD, captchaToken } })
  t.equal((await attempt('good')).statusCode, 200)
  t.match((await attempt('bad')).json(), { statusCode: 403, code: 'FST_TOKEN_AUTH_CAPTCHA_REFUSED' })
  for (const answer of ['rejecting', 'throwing', 'hanging']) t.match((await attempt(answer)).json(), { statusCode: 503, code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' }, answer)
  t.equal((await attempt()).statusCode, 400, 'none')
})
