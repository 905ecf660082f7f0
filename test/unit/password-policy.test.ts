import { createHash } from 'node:crypto'
import { getEventListeners } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import { test } from 'tap'
import type { Test } from 'tap'
import { boundedFetch } from '../../lib/tools/bounded-fetch.js'
import { haveIBeenPwned } from '../../lib/passwords/have-i-been-pwned.js'
import type { HaveIBeenPwnedOptions } from '../../lib/passwords/have-i-been-pwned.js'
import { createCommonPasswords, isCommon } from '../../lib/passwords/common-passwords.js'
import { createPasswordPolicy } from '../../lib/passwords/policy.js'
import type { PasswordPolicySettings } from '../../lib/passwords/policy.js'
import type { BreachedPasswords, PasswordRule } from '../../types/passwords.js'
import { startStub } from '../helpers/stub.js'

const GOOD = 'teal-otter-7'
const NOTHING = { minLength: 8, maxLength: 64, common: false, contextWords: [], breached: null, check: null }

function policyOf (settings: Partial<PasswordPolicySettings> = {}) {
  const warnings: { fields: { reason?: string }, message: string }[] = []
  const logger = { info () {}, error () {}, warn: (fields: object, message: string) => { warnings.push({ fields, message }) } }
  const policy = createPasswordPolicy({ ...NOTHING, logger, ...settings })
  const verdict = async (password: string, username = 'someone', current?: string) => {
    const context = current === undefined ? { username } : { username, current }
    return await policy.check(password, context).then(() => 'good', (error) => String(error.code).replace('FST_TOKEN_AUTH_', ''))
  }
  return { policy, verdict, warnings }
}

async function failure (promise: Promise<unknown>): Promise<Error & { code: string, cause: Error }> {
  return await promise.then(() => { throw new Error('it did not reject') }, (error) => error)
}

test('the length of a password is counted in code points', async (t) => {
  const { verdict, policy } = policyOf()
  t.equal(await verdict('1234567'), 'PASSWORD_TOO_SHORT')
  t.equal(await verdict('12345678'), 'good')
  t.equal(await verdict('🦦'.repeat(7)), 'PASSWORD_TOO_SHORT', '14 units, 7 code points')
  t.equal(await verdict('🦦'.repeat(8)), 'good')
  t.equal(await verdict('a'.repeat(64)), 'good')
  t.equal(await verdict('a'.repeat(65)), 'PASSWORD_TOO_LONG')
  t.equal(await verdict('🦦'.repeat(64)), 'good', '128 units, 64 code points')
  t.equal(await verdict('🦦'.repeat(65)), 'PASSWORD_TOO_LONG')
  t.equal(await verdict(''), 'PASSWORD_TOO_SHORT')
  await t.rejects(policy.check('short', { username: 'someone' }), { statusCode: 400, message: /at least 8 characters/ })
  await t.rejects(policy.check('a'.repeat(65), { username: 'someone' }), { statusCode: 400, message: /at most 64 characters/ })
})

test('a password is judged in the Unicode form in which it is hashed', async (t) => {
  const { verdict } = policyOf({ maxLength: 64 })
  t.equal(await verdict('e\u0301'.repeat(7)), 'PASSWORD_TOO_SHORT', '14 code points, which are 7 in form NFC')
  t.equal(await verdict('e\u0301'.repeat(8)), 'good')
  t.equal(await verdict('e\u0301'.repeat(64)), 'good')
  t.equal(await verdict('e\u0301'.repeat(65)), 'PASSWORD_TOO_LONG')
  t.equal(await verdict('caf\u00e9 latte', 'someone', 'cafe\u0301 latte'), 'PASSWORD_UNCHANGED')
  const seen: string[] = []
  const check = (password: string) => {
    seen.push(password)
    return null
  }
  await policyOf({ check }).verdict('cafe\u0301 latte')
  t.same(seen, ['caf\u00e9 latte'])
})

test('a password with NUL, lone surrogates or U+FFFD is refused', async (t) => {
  const { verdict } = policyOf()
  for (const bad of ['\0', '\uD800', '\uDC00', '\uFFFD']) t.equal(await verdict(`teal-${bad}-otter`), 'PASSWORD_MALFORMED', JSON.stringify(bad))
  t.equal(await verdict('\0'), 'PASSWORD_MALFORMED', 'before its length')
})

test('no kind of character is required, and none is refused', async (t) => {
  const { verdict } = policyOf({ common: true })
  const fine = ['73920486155', 'correct horse battery', '        x', ' teal otter ', 'aaaaabbbbbccccc', 'пароль с выдрой', '🦦🐢🦉🐝🦋🐙🦔🦩', 'tab\tand\nline', '"\'\\<>%s$1', 'e\u0301tang-gris']
  for (const password of fine) t.equal(await verdict(password), 'good', password)
})

test('the password may not equal the username, contain it or be part of it', async (t) => {
  const { verdict } = policyOf()
  const refuses = async (password: string, username: string) => { t.equal(await verdict(password, username), 'PASSWORD_HAS_USERNAME', `${password} of ${username}`) }
  const accepts = async (password: string, username: string) => { t.equal(await verdict(password, username), 'good', `${password} of ${username}`) }
  await refuses('margaret', 'margaret')
  await refuses('MARGARET', 'margaret')
  await refuses('xx-Margaret-99', 'mARGARET')
  await refuses('margaret', 'margaret.hamilton')
  await refuses('ｍａｒｇａｒｅｔ', 'margaret')
  await refuses('margaret', 'ＭＡＲＧＡＲＥＴ')
  await refuses('i am anna!', 'anna')
  await accepts('i am ann!', 'ann')
  await accepts('margare-', 'margaret')
  await accepts('teal-otter', '')
  await refuses('🦦🦦🦦🦦 says', '🦦🦦🦦🦦')
  await accepts('🦦🦦🦦 says it', '🦦🦦🦦')
})

test('the parts of an e-mail address count like the username', async (t) => {
  const { verdict } = policyOf()
  const refuses = async (password: string, username: string) => { t.equal(await verdict(password, username), 'PASSWORD_HAS_USERNAME', `${password} of ${username}`) }
  const accepts = async (password: string, username: string) => { t.equal(await verdict(password, username), 'good', `${password} of ${username}`) }
  const address = 'Marge.Ham@mail.Initech.co.uk'
  await refuses('marge.ham-99', address)
  await refuses('i-love-INITECH', address)
  await refuses('snail mail 77', address)
  await refuses('initech.co.uk', address)
  await accepts('marge-and-homer', address)
  await accepts('co.uk-is-fine', address)
  await accepts('teal-bob-otter', 'bob@x.org')
  await refuses('the-weird@name', '"the-weird@name"@x.org')
  await accepts('initech-99', 'initech.fan@x.org')
})

test('a username is compared as text, not as a pattern', async (t) => {
  const { verdict } = policyOf()
  t.equal(await verdict(GOOD, '.*.*'), 'good')
  t.equal(await verdict(GOOD, '(((([[[['), 'good')
  t.equal(await verdict('my (a+)+$ word', '(a+)+$'), 'PASSWORD_HAS_USERNAME')
})

test('a password may not contain a context word', async (t) => {
  const { verdict } = policyOf({ contextWords: ['Initech', 'c++', 'ＳＴＲＡẞＥ'] })
  t.equal(await verdict('my-iNiTeCh-word'), 'PASSWORD_HAS_CONTEXT_WORD')
  t.equal(await verdict('i-like-C++-much'), 'PASSWORD_HAS_CONTEXT_WORD')
  t.equal(await verdict('hauptstraße'), 'PASSWORD_HAS_CONTEXT_WORD')
  t.equal(await verdict('ｉｎｉｔｅｃｈ-123'), 'PASSWORD_HAS_CONTEXT_WORD')
  t.equal(await verdict('init-ech-ccc'), 'good')
})

test('the current password is refused, and variants of it are not', async (t) => {
  const { verdict } = policyOf()
  t.equal(await verdict(GOOD, 'someone', GOOD), 'PASSWORD_UNCHANGED')
  t.equal(await verdict(GOOD.toUpperCase(), 'someone', GOOD), 'good')
  t.equal(await verdict(` ${GOOD}`, 'someone', GOOD), 'good')
})

test('common passwords are refused in any case, and with ascending digits appended', async (t) => {
  const { verdict } = policyOf({ common: true })
  const common = ['password', 'password1', '12345678', '123456789', 'qwertyuiop', 'iloveyou1', 'password123', 'p@ssw0rd', 'P@ssw0rd', 'ILOVEYOU', 'Sunshine1', '11111111', 'password1234567', 'Football1234567890']
  for (const password of common) t.equal(await verdict(password), 'PASSWORD_COMMON', password)
  const fine = ['password-of-otters', 'xpassword1x', 'password1357924', ' password', 'sunshine2847561', '🦦🐢🦉🐝🦋🐙🦔🦩']
  for (const password of fine) t.equal(await verdict(password), 'good', password)
  t.equal(await policyOf({ common: false }).verdict('password1'), 'good', 'unless switched off')
})

test('the list of common passwords is read once, and again only after a failure', async (t) => {
  let reads = 0
  const isCommon = createCommonPasswords(async () => {
    if (++reads === 1) throw new Error('no such file')
    return '["short", "OtterOtter"]'
  })
  await t.rejects(isCommon('otterotter'), { message: 'no such file' })
  t.same(await Promise.all(['otterotter', 'OTTEROTTER', 'otterotter12', 'short', GOOD].map(isCommon)), [true, true, true, false, false])
  t.equal(reads, 2)
})

test('the list has more than the 3000 most common passwords that ASVS requires', async (t) => {
  const file = createRequire(import.meta.url).resolve('@zxcvbn-ts/language-common/src/passwords.json')
  const words = (JSON.parse(await readFile(file, 'utf8')) as string[]).filter((word) => word.length >= 8)
  t.ok(words.length > 3000)
  const known = await Promise.all(words.slice(0, 3000).map(isCommon))
  t.notOk(known.includes(false))
})

test('the host\'s rule gets the password and the username, and returns the error message', async (t) => {
  const seen: unknown[] = []
  const check: PasswordRule = (password, user) => { seen.push([password, user]); return password.includes('100%') ? 'Not 100% of %s' : null }
  const { policy, verdict } = policyOf({ check })
  t.equal(await verdict(GOOD, 'Ada'), 'good')
  t.same(seen, [[GOOD, { username: 'Ada' }]])
  await t.rejects(policy.check('100%-otter', { username: 'Ada' }), { code: 'FST_TOKEN_AUTH_PASSWORD_REFUSED', statusCode: 400, message: 'Not 100% of %s' })
  for (const nothing of [null, undefined, '']) t.equal(await policyOf({ check: async () => nothing }).verdict(GOOD), 'good', String(nothing))
  t.equal(await policyOf({ check: async () => 'no' }).verdict(GOOD), 'PASSWORD_REFUSED')
})

test('a rule of the host that fails or hangs causes 503', async (t) => {
  const causeOf = async (check: unknown, more = {}) => {
    const error = await failure(policyOf({ check: check as PasswordRule, ...more }).policy.check('qu"o/te-otter', { username: 'Ada' }))
    t.match(error, { code: 'FST_TOKEN_AUTH_UNAVAILABLE', statusCode: 503 })
    t.notMatch(`${error.cause.stack} ${JSON.stringify(error.cause)}`, 'te-otter', 'the error does not contain the password')
    return error.cause
  }
  const broken = await causeOf(() => { throw new RangeError('the rule is broken') })
  t.equal(broken.message, 'the rule is broken')
  t.match(broken.stack, /at .*policy\.test/, 'the stack is kept')
  t.match((await causeOf(async () => { throw new Error('elsewhere') })).message, 'elsewhere')
  t.match((await causeOf((password: string) => { throw new RangeError(`bad: ${password}`) })).message, /^RangeError, whose message is not shown/)
  await causeOf((password: string) => { throw new Error(`bad: ${JSON.stringify(password)}`) })
  await causeOf((password: string) => { throw new Error(`bad: ?p=${encodeURIComponent(password)}`) })
  await causeOf((password: string) => { throw Object.assign(new Error('bad'), { password }) })
  await causeOf(() => { throw Object.assign(new Error('bad'), { stack: undefined }) })
  t.match((await causeOf(async () => await Promise.reject('a text'))).message, 'a text') // eslint-disable-line prefer-promise-reject-errors
  t.match((await causeOf(() => true)).message, /must return a text or nothing, not a value of type boolean/)
  t.match((await causeOf(async () => await new Promise(() => {}), { checkTimeoutMs: 20 })).message, /longer than 20 ms/)
})

test('a breached password is refused', async (t) => {
  const breached: BreachedPasswords = { isBreached: async (password) => password === 'seen-before' }
  const { verdict, warnings } = policyOf({ breached })
  t.equal(await verdict('seen-before'), 'PASSWORD_BREACHED')
  t.equal(await verdict(GOOD), 'good')
  t.same(warnings, [])
})

test('a list of breached passwords that fails or hangs accepts the password, and is logged once per minute', async (t) => {
  let nowMs = 0
  let isAborted = false
  const lists: BreachedPasswords['isBreached'][] = [
    async (password) => { throw new Error(`no answer about ${password}`) },
    () => { throw new Error('thrown') },
    async (_, signal) => await new Promise(() => { signal.addEventListener('abort', () => { isAborted = true }) })
  ]
  for (const isBreached of lists) {
    const { verdict, warnings } = policyOf({ breached: { isBreached }, breachedTimeoutMs: 20, monotonicNow: () => nowMs })
    t.equal(await verdict(GOOD), 'good')
    nowMs += 59_999
    t.equal(await verdict(GOOD), 'good')
    t.equal(warnings.length, 1)
    nowMs += 1
    t.equal(await verdict(GOOD), 'good')
    t.equal(warnings.length, 2, 'a minute later')
    t.notMatch(JSON.stringify(warnings), GOOD)
    t.match(warnings[0]?.fields.reason, /no answer within 20 ms|thrown|not shown/)
  }
  t.ok(isAborted, 'the signal is aborted')
})

test('the log of an unavailable list uses the clock of the process by default', async (t) => {
  const { verdict, warnings } = policyOf({ breached: { isBreached: async () => { throw new Error('away') } } })
  t.same([await verdict(GOOD), await verdict(GOOD)], ['good', 'good'])
  t.equal(warnings.length, 1)
})

test('a password that a cheap rule refuses is not sent to the host\'s rule or the list of breached passwords', async (t) => {
  const asked: string[] = []
  const check: PasswordRule = () => { asked.push('check'); return 'no' }
  const breached = { isBreached: async () => { asked.push('breached'); return true } }
  const { verdict } = policyOf({ common: true, contextWords: ['initech'], check, breached })
  const refusals = ['short', 'a\0', 'a'.repeat(65), 'someone-else', 'initech-otter', 'password1']
  const codes = []
  for (const password of refusals) codes.push(await verdict(password))
  codes.push(await verdict(GOOD, 'someone', GOOD))
  t.same(codes, ['TOO_SHORT', 'MALFORMED', 'TOO_LONG', 'HAS_USERNAME', 'HAS_CONTEXT_WORD', 'COMMON', 'UNCHANGED'].map((rule) => `PASSWORD_${rule}`))
  t.same(asked, [])
  t.equal(await verdict(GOOD), 'PASSWORD_REFUSED')
  t.same(asked, ['check'], 'the host\'s rule comes first')
  const order = policyOf({ common: true, contextWords: ['password'] })
  t.equal(await order.verdict('password1', 'password1', 'password1'), 'PASSWORD_HAS_USERNAME')
  t.equal(await order.verdict('password1', 'someone', 'password1'), 'PASSWORD_HAS_CONTEXT_WORD')
  t.equal(await policyOf({ common: true }).verdict('password1', 'someone', 'password1'), 'PASSWORD_UNCHANGED')
})

test('long inputs are checked quickly', async (t) => {
  const { verdict } = policyOf({ maxLength: 1024, common: true, contextWords: ['a'.repeat(100)] })
  const before = process.cpuUsage()
  t.equal(await verdict('a'.repeat(20_000_000)), 'PASSWORD_TOO_LONG')
  t.equal(await verdict('1'.repeat(1024), `${'1'.repeat(253)}x`), 'good')
  t.equal(await verdict(`${'a'.repeat(99)}b`.repeat(10), 'a'.repeat(200_000) + '@'.repeat(50_000)), 'good')
  t.equal(await verdict('\uFDFA'.repeat(1024), '\uFDFA'.repeat(254) + 'x'), 'good', 'a character that folds to 18')
  // The CPU time of this process alone, independent of the machine's load. A quadratic algorithm would take hours.
  const { user, system } = process.cpuUsage(before)
  t.ok(user + system < 20_000_000, `${(user + system) / 1000} ms`)
})

/** A server that answers with `play`. */
async function peer (t: Test, play: (response: ServerResponse) => void) {
  const { origin, heard: seen } = await startStub(t, play)
  return { url: `${origin}/range`, seen }
}

const HASH = createHash('sha1').update(GOOD).digest('hex').toUpperCase()
const FILLER = `${'0'.repeat(34)}1:3\r\n${'F'.repeat(35)}:0`
const waiting = () => new AbortController().signal

function plain (text: string, type = 'text/plain') {
  return (response: ServerResponse) => { response.writeHead(200, { 'content-type': type }).end(text) }
}

test('haveIBeenPwned sends five digits of the hash, and nothing else', async (t) => {
  const { url, seen } = await peer(t, plain(`${HASH.slice(5)}:12\r\n${FILLER}`))
  t.equal(await haveIBeenPwned({ url }).isBreached(GOOD, waiting()), true)
  t.equal(await haveIBeenPwned({ url: `${url}/`, padding: false, userAgent: 'the app/1.0' }).isBreached(GOOD, waiting()), true)
  t.equal(seen[0]?.url, `/range/${HASH.slice(0, 5)}`)
  t.match(seen[0], { method: 'GET', body: '', headers: { 'add-padding': 'true', 'user-agent': 'fastify-token-auth', accept: 'text/plain' } })
  t.equal(seen[1]?.url, seen[0]?.url)
  t.match(seen[1], { headers: { 'user-agent': 'the app/1.0', 'add-padding': undefined } })
  t.notMatch(JSON.stringify(seen).toUpperCase(), HASH.slice(5, 15))
  t.notMatch(JSON.stringify(seen), GOOD)
})

test('haveIBeenPwned applies minCount, and ignores padding', async (t) => {
  const found = async (text: string, options: HaveIBeenPwnedOptions = {}) => {
    const { url } = await peer(t, plain(text, 'text/plain; charset=utf-8'))
    return await haveIBeenPwned({ url, ...options }).isBreached(GOOD, waiting())
  }
  t.equal(await found(`${FILLER}\r\n${HASH.slice(5)}:1`), true)
  t.equal(await found(`${HASH.slice(5).toLowerCase()}:1\n`), true, 'in lower case, with other line endings')
  t.equal(await found(FILLER), false)
  t.equal(await found(`${FILLER}\r\n${HASH.slice(5)}:0`), false, 'padded')
  t.equal(await found(`${HASH.slice(5)}:9`, { minCount: 10 }), false)
  t.equal(await found(`${HASH.slice(5)}:10`, { minCount: 10 }), true)
  t.equal(await found(`garbage\r\n${HASH.slice(5)}:10`), true, 'a hit among garbage')
})

test('haveIBeenPwned rejects after one request if there is no valid answer', async (t) => {
  const refuses = async (name: string, play: (response: ServerResponse) => void, message: RegExp, options: HaveIBeenPwnedOptions = {}) => {
    const { url, seen } = await peer(t, play)
    const error = await failure(haveIBeenPwned({ url, ...options }).isBreached(GOOD, waiting()))
    t.match(error.message, message, name)
    t.equal(seen.length, 1, `${name}: once`)
    t.notMatch(`${error.stack} ${JSON.stringify(error)} ${error.cause}`, HASH.slice(0, 5), `${name}: the error does not contain the URL`)
  }
  const hit = `${HASH.slice(5)}:12`
  await refuses('500', (response) => { response.writeHead(500, { 'content-type': 'text/plain' }).end(hit) }, /answered 500/)
  await refuses('429', (response) => { response.writeHead(429, { 'retry-after': '1' }).end() }, /answered 429/)
  await refuses('silence', () => {}, /took too long/, { timeout: 100 })
  await refuses('a trickle', (response) => { response.writeHead(200, { 'content-type': 'text/plain' }).write('0') }, /took too long/, { timeout: 100 })
  await refuses('HTML', plain('<!doctype html><title>Log in</title>', 'text/html'), /something else than text\/plain/)
  await refuses('HTML called text', plain('<!doctype html><title>Log in</title>'), /something else than hashes/)
  await refuses('no type', (response) => { response.writeHead(200).end(hit) }, /something else than text\/plain/)
  await refuses('a type that begins alike', plain(hit, 'text/plainer'), /something else than text\/plain/)
  await refuses('nothing', plain(''), /something else than hashes/)
  await refuses('garbage among lines', plain(`${FILLER}\r\nzzz`), /something else than hashes/)
  await refuses('a count that is none', plain(`${HASH.slice(5)}:many`), /something else than hashes/)
  await refuses('a redirect', (response) => { response.writeHead(302, { location: '/elsewhere' }).end() }, /answered 302/)
  await refuses('a reset', (response) => { response.socket?.resetAndDestroy() }, /cannot be reached: .*(ECONNRESET|UND_ERR_SOCKET)/)
  await refuses('an end too soon', (response) => { response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 999 }).write(hit, () => response.destroy()) }, /cannot be reached: .*UND_ERR_SOCKET/)
  await refuses('no HTTP', (response) => { response.socket?.end(`garbage ${HASH.slice(0, 5)}\r\n\r\n`) }, /cannot be reached: .*HPE_/)
})

test('an answer that is too long is not read completely', async (t) => {
  let written = 0
  const gone = new Promise<void>((resolve) => {
    t.context.play = (response: ServerResponse) => {
      response.writeHead(200, { 'content-type': 'text/plain' })
      const more = () => { while (response.write(Buffer.alloc(16_384, '0'))) written += 16_384 }
      response.on('drain', more).on('close', resolve)
      more()
    }
  })
  const { url } = await peer(t, t.context.play)
  const error = await failure(haveIBeenPwned({ url }).isBreached(GOOD, waiting()))
  t.match(error.message, /more than 262144 bytes/)
  await gone
  t.ok(written < 64 * 1024 * 1024, 'the connection is dropped')
})

// Without an explicit close, the connection would end at some later garbage collection.
test('the body of a refused answer is not read', { timeout: 60_000 }, async (t) => {
  const answers: [number, string][] = [[500, 'text/plain'], [200, 'text/html']]
  for (const [status, type] of answers) {
    const closed = new Promise<void>((resolve) => {
      t.context.play = (response: ServerResponse) => { response.writeHead(status, { 'content-type': type }).write('more follows'); response.on('close', resolve) }
    })
    const { url } = await peer(t, t.context.play)
    await failure(haveIBeenPwned({ url }).isBreached(GOOD, waiting()))
    await closed
    t.pass(`${status} ${type}: the connection is dropped`)
  }
})

test('a request is cancelled with the caller\'s signal', async (t) => {
  const stop = new AbortController()
  const { url, seen } = await peer(t, () => stop.abort())
  t.match((await failure(haveIBeenPwned({ url }).isBreached(GOOD, stop.signal))).message, /was cancelled/)
  t.equal(seen.length, 1)
  t.match((await failure(haveIBeenPwned({ url }).isBreached(GOOD, AbortSignal.abort()))).message, /was cancelled/)
  t.equal(seen.length, 1, 'and is not sent if the signal is aborted already')
  const { signal } = new AbortController()
  const answering = await peer(t, plain(FILLER))
  t.equal(await haveIBeenPwned({ url: answering.url }).isBreached(GOOD, signal), false)
  t.equal(getEventListeners(signal, 'abort').length, 0, 'and leaves no listener on the signal')
})

test('an error contains neither the query string nor the body', async (t) => {
  const question = { service: 'the peer', body: new URLSearchParams({ secret: 'SESAME' }), mediaType: 'text/plain', maxBytes: 100, timeoutMs: 30_000, signal: waiting() }
  const { url } = await peer(t, (response) => { response.writeHead(500).end('SESAME') })
  for (const address of [url, 'http://127.0.0.1:1/', 'http://SESAME:SESAME@127.0.0.1/', 'no address']) {
    const error = await failure(boundedFetch({ ...question, url: `${address}?key=SESAME` }))
    t.match(error.message, /^the peer (answered 500|cannot be reached: .+)$/)
    t.notMatch(`${error.stack} ${JSON.stringify(error)} ${error.cause}`, 'SESAME')
  }
})

test('a body is sent with POST, and the answer must have the expected media type, with any parameters', async (t) => {
  const question = { service: 'the peer', mediaType: 'application/json', maxBytes: 16, timeoutMs: 30_000, signal: waiting() }
  const form = new URLSearchParams({ a: 'b c' })
  const { url, seen } = await peer(t, plain('{"success":true}', 'Application/JSON; charset=utf-8'))
  t.same(await boundedFetch({ ...question, url, body: form }), { status: 200, text: '{"success":true}' })
  t.same(await boundedFetch({ ...question, url, body: '{}', headers: { 'content-type': 'application/json' } }), { status: 200, text: '{"success":true}' })
  t.match(seen[0], { method: 'POST', url: '/range', body: 'a=b+c', headers: { 'content-type': /^application\/x-www-form-urlencoded/ } })
  t.match(seen[1], { method: 'POST', url: '/range', body: '{}', headers: { 'content-type': 'application/json' } })
  for (const other of ['text/html', 'application/jsonp']) {
    const { url } = await peer(t, plain('{"success":true}', other))
    t.match((await failure(boundedFetch({ ...question, url, body: form }))).message, 'the peer answered something else than application/json')
  }
})

test('haveIBeenPwned rejects bad options by name', async (t) => {
  const refuses = (options: unknown, message: RegExp) => {
    t.throws(() => haveIBeenPwned(options as HaveIBeenPwnedOptions), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
  }
  refuses(null, /password\.breached must be made with an object/)
  refuses('2s', /password\.breached must be made with an object/)
  refuses({ maxWait: 5 }, /Unknown option "password\.breached\.maxWait"; known options: url, timeout, minCount, padding, userAgent/)
  refuses({ toString: 5 }, /Unknown option/)
  refuses({ url: 'http://pwned.example/range/' }, /password\.breached\.url must be an https URL, got another string/)
  refuses({ url: 'https://bob:SESAME@pwned.example/' }, /^(?!.*SESAME)password\.breached\.url must be an https URL, got one with credentials/)
  refuses({ url: 'https://bob@pwned.example/' }, /got one with credentials/)
  refuses({ url: 'https://pwned.example/?q=' }, /password\.breached\.url must be an https URL without a query/)
  refuses({ url: 'https://pwned.example/#x' }, /without a query/)
  refuses({ url: 5 }, /password\.breached\.url must be an https URL, got 5/)
  refuses({ timeout: '6s' }, /password\.breached\.timeout must be a duration of at most 5 s/)
  refuses({ timeout: 0 }, /password\.breached\.timeout/)
  refuses({ minCount: 0 }, /password\.breached\.minCount must be an integer/)
  refuses({ padding: 'yes' }, /password\.breached\.padding must be true or false/)
  refuses({ userAgent: 'two\r\nlines' }, /password\.breached\.userAgent must be/)
  refuses({ userAgent: '' }, /password\.breached\.userAgent must be/)
  t.ok(haveIBeenPwned())
  t.ok(haveIBeenPwned({ url: 'http://localhost:8080', timeout: '1s', minCount: undefined } as HaveIBeenPwnedOptions))
  t.ok(haveIBeenPwned({ url: 'http://[::1]:8080/' }))
})
