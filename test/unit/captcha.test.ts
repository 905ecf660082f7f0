import type { ServerResponse } from 'node:http'
import { once } from 'node:events'
import { test } from 'tap'
import type { Test } from 'tap'
import { hcaptcha } from '../../lib/captcha/hcaptcha.js'
import { readCaptcha } from '../../lib/captcha/options.js'
import type { CommonCaptchaOptions } from '../../lib/captcha/options.js'
import { recaptchaEnterprise } from '../../lib/captcha/recaptcha-enterprise.js'
import { turnstile } from '../../lib/captcha/turnstile.js'
import { errors, recaptcha } from '../../lib/index.js'
import type { Captcha, CaptchaVerdict, RecaptchaOptions } from '../../lib/index.js'
import { createCaptchaCheck } from '../../lib/services/captcha.js'
import type { CaptchaCheckSettings } from '../../lib/services/captcha.js'
import { answerJson, startStub } from '../helpers/stub.js'

const SECRET = '6LeSECRET-secret-key'
const NOW = Date.parse('2026-03-01T12:00:00Z')
const HUMAN = { success: true, challenge_ts: '2026-03-01T11:59:30Z', hostname: 'example.com' }
const HUMAN_V3 = { ...HUMAN, action: 'login', score: 0.9 }

type Answer = object | string | ((response: ServerResponse) => void)

/** A server that simulates the provider's documented replies and failures. */
async function provider (t: Test, answer: Answer, status = 200) {
  const { origin, heard: seen } = await startStub(t, (response) => typeof answer === 'function' ? answer(response) : answerJson(response, answer, status))
  return { url: `${origin}/siteverify`, seen }
}

function context (more: Partial<{ ip: string | null, signal: AbortSignal }> = {}) {
  return { ip: '203.0.113.7', signal: new AbortController().signal, ...more }
}

async function verdictOf (t: Test, answer: Answer, options: Partial<RecaptchaOptions> = {}) {
  const { url } = await provider(t, answer)
  return await recaptcha({ secret: SECRET, url, now: () => NOW, ...options }).verify('answer', context())
}

async function failureOf (t: Test, answer: Answer, { status = 200, ...options }: Partial<RecaptchaOptions> & { status?: number } = {}) {
  const { url, seen } = await provider(t, answer, status)
  const error = await recaptcha({ secret: SECRET, url, now: () => NOW, ...options }).verify('answer', context()).then(() => null, (error) => error)
  t.ok(error instanceof Error, 'it rejects')
  t.equal(seen.length, 1, 'after one request')
  t.notMatch(`${error} ${error.cause}`, SECRET, 'the error does not contain the secret')
  return error as Error & { code: string, cause: Error }
}

test('recaptcha sends secret, answer and address in the body, and nothing in the URL', async (t) => {
  const { url, seen } = await provider(t, HUMAN)
  const captcha = recaptcha({ secret: SECRET, url, now: () => NOW })
  t.same(await captcha.verify('the answer', context()), { ok: true })
  t.same(await captcha.verify('the answer', context({ ip: null })), { ok: true })
  t.equal(seen[0]?.url, '/siteverify')
  t.match(seen[0]?.headers['content-type'], 'application/x-www-form-urlencoded')
  t.same(Object.fromEntries(new URLSearchParams(seen[0]?.body)), { secret: SECRET, response: 'the answer', remoteip: '203.0.113.7' })
  t.same(Object.fromEntries(new URLSearchParams(seen[1]?.body)), { secret: SECRET, response: 'the answer' })
})

test('recaptcha refuses an empty answer without a request', async (t) => {
  const { url, seen } = await provider(t, HUMAN)
  t.same(await recaptcha({ secret: SECRET, url }).verify('', context()), { ok: false, reason: 'missing-input-response' })
  t.equal(seen.length, 0)
})

test('recaptcha version 2 accepts a fresh success and refuses everything else', async (t) => {
  const refused = async (name: string, reply: object, reason: string, options: Partial<RecaptchaOptions> = {}) => {
    t.same(await verdictOf(t, reply, options), { ok: false, reason }, name)
  }
  await refused('not solved', { success: false, 'error-codes': ['invalid-input-response'] }, 'invalid-input-response')
  await refused('used before', { success: false, 'error-codes': ['timeout-or-duplicate'] }, 'timeout-or-duplicate')
  await refused('no reason', { success: false }, 'refused')
  await refused('empty reasons', { success: false, 'error-codes': [] }, 'refused')
  await refused('success as text', { ...HUMAN, success: 'true' }, 'refused')
  await refused('success as a number', { ...HUMAN, success: 1 }, 'refused')
  await refused('an empty object', {}, 'refused')
  await refused('121 s old', { ...HUMAN, challenge_ts: '2026-03-01T11:57:59Z' }, 'too-old')
  await refused('no time', { success: true, hostname: 'example.com' }, 'too-old')
  await refused('an invalid time', { ...HUMAN, challenge_ts: 'yesterday' }, 'too-old')
  await refused('another host', { ...HUMAN, hostname: 'evil.example' }, 'wrong-hostname', { hostnames: ['example.com'] })
  await refused('a host with only the same ending', { ...HUMAN, hostname: 'evil-example.com' }, 'wrong-hostname', { hostnames: ['example.com'] })
  await refused('no host', { success: true, challenge_ts: HUMAN.challenge_ts }, 'wrong-hostname', { hostnames: ['example.com'] })
  t.same(await verdictOf(t, { ...HUMAN, challenge_ts: '2026-03-01T11:58:00Z' }), { ok: true }, 'two minutes old')
  t.same(await verdictOf(t, { ...HUMAN, hostname: 'Example.com' }, { hostnames: ['EXAMPLE.com', 'www.example.com'] }), { ok: true }, 'the host in other case')
  t.same(await verdictOf(t, { ...HUMAN, challenge_ts: '2026-03-01T10:00:00Z' }, { maxAge: null }), { ok: true }, 'any age, if configured')
  t.same(await verdictOf(t, { ...HUMAN, challenge_ts: '2026-03-01T11:30:00Z' }, { maxAge: '1h' }), { ok: true }, 'another age')
})

test('recaptcha version 3 requires the action and a sufficiently high numeric score', async (t) => {
  const verdict = async (reply: object, options: Partial<RecaptchaOptions> = {}) => await verdictOf(t, { ...HUMAN_V3, ...reply }, { version: 3, ...options })
  t.same(await verdict({}), { ok: true })
  t.same(await verdict({ score: 0.5 }), { ok: true }, 'the minimum score')
  t.same(await verdict({ action: 'sign_in', score: 0.8 }, { action: 'sign_in', minScore: 0.8 }), { ok: true })
  t.same(await verdict({ score: 0.49 }), { ok: false, reason: 'low-score' })
  t.same(await verdict({ score: '0.9' }), { ok: false, reason: 'low-score' }, 'a text')
  t.same(await verdict({ score: NaN }), { ok: false, reason: 'low-score' }, 'null, as JSON has NaN')
  t.same(await verdict({ score: undefined }), { ok: false, reason: 'low-score' }, 'none')
  t.same(await verdict({ action: 'signup' }), { ok: false, reason: 'wrong-action' })
  t.same(await verdict({ action: undefined }), { ok: false, reason: 'wrong-action' }, 'none')
  t.same(await verdict({ challenge_ts: '2026-03-01T11:00:00Z' }), { ok: false, reason: 'too-old' })
})

test('recaptcha rejects with an error about captcha.secret if the provider reports a wrong secret', async (t) => {
  for (const code of ['missing-input-secret', 'invalid-input-secret']) {
    const error = await failureOf(t, { success: false, 'error-codes': ['bad-request', code] })
    t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /captcha\.secret is wrong/ })
  }
})

test('recaptcha takes 400 for a wrong answer, and another client error for a mistake in the options', async (t) => {
  const badRequest = (type: string) => (response: ServerResponse) => { response.writeHead(400, { 'content-type': type }).end('<p>Bad Request</p>') }
  t.match(await verdictOf(t, badRequest('text/html')), { ok: false, reason: 'bad-request' })
  await t.rejects(verdictOf(t, badRequest('application/json')), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
  t.match(await failureOf(t, HUMAN, { status: 404 }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /answered 404/ })
})

test('recaptcha rejects without a second request if the provider returns no valid answer', async (t) => {
  const unavailable = (error: Error & { code: string, cause: Error }, cause: RegExp) => {
    t.match(error, { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', statusCode: 503 })
    t.match(`${error.cause.message} ${error.cause.cause}`, cause)
  }
  unavailable(await failureOf(t, HUMAN, { status: 500 }), /answered 500/)
  unavailable(await failureOf(t, HUMAN, { status: 408 }), /answered 408/)
  unavailable(await failureOf(t, '<!doctype html><title>Sorry</title>'), /JSON object/)
  unavailable(await failureOf(t, '{"success": tr'), /JSON object/)
  unavailable(await failureOf(t, 'null'), /JSON object/)
  unavailable(await failureOf(t, ''), /JSON object/)
  unavailable(await failureOf(t, JSON.stringify({ ...HUMAN, padding: 'x'.repeat(65_536) })), /more than 65536 bytes/)
  unavailable(await failureOf(t, (response) => { response.destroy() }), /closed/)
  unavailable(await failureOf(t, (response) => { response.writeHead(204).end() }), /answered 204/)
})

test('recaptcha rejects after its timeout, even if the answer has begun to arrive', async (t) => {
  const silent = await failureOf(t, () => {}, { timeoutMs: 100 })
  t.match(silent.cause.message, /too long/)
  const trickling = await failureOf(t, (response) => { response.writeHead(200, { 'content-type': 'application/json' }).write('{') }, { timeoutMs: 100 })
  t.match(trickling.cause.message, /too long/)
})

test('recaptcha rejects when the caller\'s signal is aborted', async (t) => {
  const { url } = await provider(t, () => {})
  const captcha = recaptcha({ secret: SECRET, url })
  await t.rejects(captcha.verify('answer', context({ signal: AbortSignal.abort() })), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
  await t.rejects(captcha.verify('answer', context({ signal: AbortSignal.timeout(50) })), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
})

test('recaptcha rejects if nothing listens at the URL', async (t) => {
  const captcha = recaptcha({ secret: SECRET, url: 'http://127.0.0.1:1/' })
  await t.rejects(captcha.verify('answer', context()), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
})

test('recaptcha rejects bad options by name, and never shows the secret', async (t) => {
  const refuses = (options: object | undefined, message: RegExp) => {
    t.throws(() => recaptcha(options as RecaptchaOptions), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
  }
  refuses(undefined, /captcha must be made with an object/)
  refuses(SECRET as unknown as object, /^(?!.*6LeSECRET)captcha must be made with an object/)
  refuses({}, /captcha\.secret must be the secret key of the site, got a value of type undefined/)
  refuses({ secret: `${SECRET} ` }, /^(?!.*6LeSECRET)captcha\.secret must be/)
  refuses({ secret: SECRET, sitekey: 'x' }, /Unknown option "captcha\.sitekey"; known options: secret, version/)
  refuses({ secret: SECRET, version: '3' }, /captcha\.version must be 2 or 3, got "3"/)
  refuses({ secret: SECRET, version: 3, action: 'log in' }, /captcha\.action must be an action/)
  refuses({ secret: SECRET, version: 3, minScore: 1.1 }, /captcha\.minScore must be a number from 0 to 1, got 1\.1/)
  refuses({ secret: SECRET, version: 3, minScore: NaN }, /captcha\.minScore must be/)
  refuses({ secret: SECRET, version: 3, minScore: '0.5' }, /captcha\.minScore must be/)
  refuses({ secret: SECRET, minScore: 0.9 }, /captcha\.minScore needs version: 3/)
  refuses({ secret: SECRET, action: 'login' }, /captcha\.action needs version: 3/)
  refuses({ secret: SECRET, hostnames: [] }, /captcha\.hostnames must be a non-empty array/)
  refuses({ secret: SECRET, hostnames: ['https://example.com'] }, /captcha\.hostnames\[0\] must be a host name/)
  refuses({ secret: SECRET, maxAge: 10 }, /captcha\.maxAge must be a duration of at least 1 s, got 10/)
  refuses({ secret: SECRET, timeoutMs: 0 }, /captcha\.timeoutMs must be an integer/)
  refuses({ secret: SECRET, now: 5 }, /captcha\.now must be a function/)
  refuses({ secret: SECRET, url: 'http://captcha.example/' }, /captcha\.url must be an https URL/)
  refuses({ secret: SECRET, url: 'nonsense' }, /captcha\.url must be an https URL/)
  refuses({ secret: SECRET, url: 5 }, /captcha\.url must be an https URL/)
  t.ok(recaptcha({ secret: SECRET, url: 'https://captcha.example/siteverify', hostnames: null, version: 3 }))
})

interface Claims { hostname?: unknown, solvedAt?: unknown, action?: unknown, score?: unknown }

interface Provider {
  name: string
  make: (options: CommonCaptchaOptions) => Captcha
  /** Its documented reply for a solved captcha. */
  solved: (claims?: Claims) => object
  /** Its reply for an answer that was used before, and the plugin's reason. */
  seen: object
  seenReason: string
  looksAt: ('action' | 'score')[]
  maxAgeMs: number
  /** Its replies for a wrong key. */
  misconfigured: { status: number, reply: object }[]
  keys: string[]
}

function siteverify ({ hostname = 'example.com', solvedAt = '2026-03-01T11:59:30Z', action = 'login', score = 0.9 }: Claims = {}) {
  return { success: true, challenge_ts: solvedAt, hostname, action, score }
}

const SEEN = { success: false, 'error-codes': ['timeout-or-duplicate'] }
const WRONG_SECRET = [
  { status: 200, reply: { success: false, 'error-codes': ['invalid-input-secret'] } },
  { status: 200, reply: { success: false, 'error-codes': ['missing-input-secret'] } }
]

function assessment ({ hostname = 'example.com', solvedAt = '2026-03-01T11:59:30.123456Z', action = 'login', score = 0.9 }: Claims = {}) {
  return {
    name: 'projects/5/assessments/1',
    event: { token: 'x', siteKey: 'site-key' },
    riskAnalysis: { score, reasons: [] },
    tokenProperties: { valid: true, invalidReason: 'INVALID_REASON_UNSPECIFIED', hostname, action, createTime: solvedAt }
  }
}

function googleError (code: number, status: string) {
  return { status: code, reply: { error: { code, message: 'API key not valid. Please pass a valid API key.', status } } }
}

const TWO_MINUTES = 120_000
const API_KEY = 'AIzaSECRET'

const PROVIDERS: Provider[] = [{
  name: 'recaptcha version 2',
  make: (options) => recaptcha({ secret: SECRET, ...options }),
  solved: siteverify,
  seen: SEEN,
  seenReason: 'timeout-or-duplicate',
  looksAt: [],
  maxAgeMs: TWO_MINUTES,
  misconfigured: WRONG_SECRET,
  keys: ['secret', 'response', 'remoteip']
}, {
  name: 'recaptcha version 3',
  make: (options) => recaptcha({ secret: SECRET, version: 3, ...options }),
  solved: siteverify,
  seen: SEEN,
  seenReason: 'timeout-or-duplicate',
  looksAt: ['action', 'score'],
  maxAgeMs: TWO_MINUTES,
  misconfigured: WRONG_SECRET,
  keys: ['secret', 'response', 'remoteip']
}, {
  name: 'hcaptcha',
  make: (options) => hcaptcha({ secret: SECRET, siteKey: '10000000-ffff', ...options }),
  solved: siteverify,
  seen: { success: false, 'error-codes': ['already-seen-response'] },
  seenReason: 'already-seen-response',
  looksAt: [],
  maxAgeMs: TWO_MINUTES,
  misconfigured: WRONG_SECRET,
  keys: ['secret', 'sitekey', 'response', 'remoteip']
}, {
  name: 'turnstile',
  make: (options) => turnstile({ secret: SECRET, action: 'login', ...options }),
  solved: (claims) => ({ ...siteverify(claims), 'error-codes': [], cdata: '' }),
  seen: SEEN,
  seenReason: 'timeout-or-duplicate',
  looksAt: ['action'],
  maxAgeMs: 300_000,
  misconfigured: WRONG_SECRET,
  keys: ['secret', 'response', 'remoteip']
}, {
  name: 'recaptchaEnterprise',
  make: (options) => recaptchaEnterprise({ apiKey: API_KEY, projectId: 'my-project', siteKey: 'site-key', ...options }),
  solved: assessment,
  seen: { tokenProperties: { valid: false, invalidReason: 'DUPE', hostname: '', action: '' }, riskAnalysis: { score: 0, reasons: [] } },
  seenReason: 'dupe',
  looksAt: ['action', 'score'],
  maxAgeMs: TWO_MINUTES,
  misconfigured: [googleError(400, 'INVALID_ARGUMENT'), googleError(401, 'UNAUTHENTICATED'), googleError(403, 'PERMISSION_DENIED'), googleError(404, 'NOT_FOUND')],
  keys: []
}]

const HOSTS = { hostnames: ['example.com'], now: () => NOW }
const CHUNK = Buffer.alloc(64 * 1024, 32)

/** Sends up to 50 MB as fast as the client reads them, and counts the bytes. */
function flood (sent: { bytes: number, closed: Promise<unknown> }) {
  return (response: ServerResponse) => {
    sent.closed = once(response, 'close')
    response.writeHead(200, { 'content-type': 'application/json' })
    const more = () => {
      while (sent.bytes < 50 * 1024 * 1024) {
        sent.bytes += CHUNK.byteLength
        if (!response.write(CHUNK)) return response.once('drain', more)
      }
      response.end()
    }
    more()
  }
}

for (const { name, make, solved, seen, seenReason, looksAt, maxAgeMs, misconfigured, keys } of PROVIDERS) {
  const ask = async (t: Test, answer: Answer, options: CommonCaptchaOptions = {}) => {
    const { url } = await provider(t, answer)
    return await make({ url, ...HOSTS, ...options }).verify('answer', context())
  }

  const at = (ageMs: number) => new Date(NOW - ageMs).toISOString()

  test(`${name} accepts valid answers, and checks time and host itself`, async (t) => {
    const refuses = async (answer: Answer, reason: string, message: string, options: CommonCaptchaOptions = {}) => {
      t.same(await ask(t, answer, options), { ok: false, reason }, message)
    }
    t.same(await ask(t, solved()), { ok: true })
    t.same(await ask(t, solved({ solvedAt: at(maxAgeMs) })), { ok: true }, 'the maximum age')
    t.same(await ask(t, solved({ solvedAt: at(-60_000) })), { ok: true }, 'a clock that is a minute ahead')
    t.same(await ask(t, solved({ solvedAt: '2026-03-01T13:59:30+02:00' })), { ok: true }, 'another time zone')
    t.same(await ask(t, solved({ solvedAt: at(maxAgeMs * 5) }), { maxAge: null }), { ok: true }, 'any age, if configured')
    t.same(await ask(t, solved({ hostname: 'evil.example' }), { hostnames: null }), { ok: true }, 'any host, if configured')
    await refuses(seen, seenReason, 'used before')
    await refuses({}, 'refused', 'an empty object')
    await refuses([], 'refused', 'an array')
    await refuses(solved({ hostname: 'evil.example' }), 'wrong-hostname', 'another host')
    await refuses(solved({ hostname: ['example.com'] }), 'wrong-hostname', 'a host in an array')
    await refuses(solved({ hostname: null }), 'wrong-hostname', 'no host')
    await refuses(solved({ solvedAt: at(maxAgeMs + 1) }), 'too-old', 'too old')
    await refuses(solved({ solvedAt: at(-60_001) }), 'in-the-future', 'from the future')
    for (const solvedAt of [null, 5, NOW, 'yesterday', '2026-03-01', '2026-03-01T11:59:30', '2026-13-01T11:59:30Z']) {
      await refuses(solved({ solvedAt }), 'too-old', `the time ${solvedAt}`)
    }
  })

  test(`${name} checks ${looksAt.join(' and ') || 'neither action nor score'}`, async (t) => {
    const scoring = (raw: string) => JSON.stringify(solved({ score: '@' })).replace('"@"', raw)
    const expect = async (field: 'action' | 'score', answer: Answer, message: string) => {
      const reason = field === 'action' ? 'wrong-action' : 'low-score'
      t.same(await ask(t, answer), looksAt.includes(field) ? { ok: false, reason } : { ok: true }, message)
    }
    for (const action of ['signup', 'Login', '', null, ['login']]) await expect('action', solved({ action }), `action ${action}`)
    for (const score of ['0.49', '0', '-1', 'null', '"0.9"', '"NaN"', 'true', '[0.9]', '1.01', '1e999', '-1e999']) {
      await expect('score', scoring(score), `score ${score}`)
    }
    t.same(await ask(t, scoring('1')), { ok: true })
    t.same(await ask(t, scoring('0.5')), { ok: true })
  })

  test(`${name} rejects as misconfigured if the provider refuses the key`, async (t) => {
    for (const { status, reply } of misconfigured) {
      const { url } = await provider(t, reply, status)
      const error = await make({ url, ...HOSTS }).verify('the-answer', context()).then(() => null, (error) => error)
      t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /captcha\.(secret|apiKey).* is wrong/ })
      t.notMatch(`${error.message} ${error.cause?.message}`, /SECRET|the-answer|API key not valid/)
    }
  })

  test(`${name} rejects as misconfigured if the URL is not the provider's, and follows no redirect`, async (t) => {
    for (const status of [301, 302, 307, 401, 403, 404, 405, 410]) {
      const { url, seen } = await provider(t, (response) => response.writeHead(status, { 'content-type': 'application/json', location: '/elsewhere' }).end('{}'))
      await t.rejects(make({ url, ...HOSTS }).verify('the-answer', context()), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: new RegExp(`answered ${status}$`) })
      t.equal(seen.length, 1)
    }
  })

  test(`${name} rejects after one request if the provider returns no valid answer`, async (t) => {
    const json = { 'content-type': 'application/json' }
    const failures: [string, Answer, number, RegExp][] = [
      ['500', solved(), 500, /answered 500/],
      ['429', solved(), 429, /answered 429/],
      ['a hang', () => {}, 200, /too long/],
      ['a hang amidst the answer', (response) => { response.writeHead(200, json).write('{"success": tr') }, 200, /too long/],
      ['a reset', (response) => { response.destroy() }, 200, /cannot be reached/],
      ['HTML', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<title>Sorry</title>'), 200, /something else than/],
      ['JSON that is not called so', (response) => response.writeHead(200, { 'content-type': 'text/plain' }).end(JSON.stringify(solved())), 200, /something else than/],
      ['HTML that is called JSON', '<title>Sorry</title>', 200, /JSON object/],
      ['a bare NaN', JSON.stringify(solved({ score: '@' })).replace('"@"', 'NaN').replace('}', ', "x": NaN}'), 200, /JSON object/],
      ['a text', '"success"', 200, /JSON object/],
      ['nothing', '', 200, /JSON object/]
    ]
    for (const [failure, answer, status, cause] of failures) {
      const { url, seen } = await provider(t, answer, status)
      const captcha = make({ url, ...HOSTS, timeoutMs: failure.startsWith('a hang') ? 100 : 10_000 })
      const error = await captcha.verify('the-answer', context()).then(() => null, (error) => error)
      t.match(error, { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', statusCode: 503, cause: { message: cause } }, failure)
      t.notMatch(`${error.stack} ${error.cause.stack}`, /SECRET|the-answer|Sorry/, 'the error has neither key nor answer nor body')
      t.equal(seen.length, 1)
    }
  })

  test(`${name} stops reading an endless answer`, async (t) => {
    const sent = { bytes: 0, closed: Promise.resolve() as Promise<unknown> }
    const { url } = await provider(t, flood(sent))
    await t.rejects(make({ url, ...HOSTS }).verify('answer', context()), { cause: { message: /more than 65536 bytes/ } })
    await sent.closed
    t.ok(sent.bytes < 10 * 1024 * 1024, `after ${sent.bytes} bytes`)
  })

  test(`${name} sends its key in no URL, and remoteip only if it is known`, async (t) => {
    const { url, seen } = await provider(t, solved())
    const captcha = make({ url, ...HOSTS })
    t.same(await captcha.verify('', context()), { ok: false, reason: keys.length === 0 ? 'missing' : 'missing-input-response' })
    t.equal(seen.length, 0, 'no request for an empty answer')
    await captcha.verify('the answer', context())
    await captcha.verify('the answer', context({ ip: null }))
    t.same(seen.map(({ url }) => url), ['/siteverify', '/siteverify'])
    if (keys.length === 0) return
    t.same([...new URLSearchParams(seen[0]?.body).keys()], keys)
    t.same([...new URLSearchParams(seen[1]?.body).keys()], keys.filter((key) => key !== 'remoteip'))
  })

  test(`${name} has the options when, afterFailures and onUnavailable`, async (t) => {
    t.match(make({}), { when: 'always', afterFailures: 3, onUnavailable: 'refuse' })
    const policy = { when: 'after-failures', afterFailures: 7, onUnavailable: 'allow' } as const
    t.match(make(policy), policy)
    for (const [option, value] of Object.entries({ when: 'never', afterFailures: 0, onUnavailable: 'maybe', hostnames: [''], maxAge: 0, timeoutMs: 1.5, now: 1, url: 'http://a.example/' })) {
      t.throws(() => make({ [option]: value }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `captcha.${option}` })
    }
    t.throws(() => make({ afterFailures: 101 }), { message: /captcha\.afterFailures must be an integer from 1 to 100, got 101/ })
    t.throws(() => make({ toString: 1 } as CommonCaptchaOptions), { message: /Unknown option "captcha\.toString"/ })
  })
}

test('siteverify: a success with error codes is refused, and malformed codes are not repeated', async (t) => {
  const verdict = async (reply: object) => await verdictOf(t, reply)
  t.same(await verdict({ ...HUMAN, 'error-codes': null }), { ok: true })
  t.same(await verdict({ ...HUMAN, 'error-codes': [] }), { ok: true })
  t.same(await verdict({ ...HUMAN, 'error-codes': ['bad-request'] }), { ok: false, reason: 'bad-request' })
  t.same(await verdict({ success: false, 'error-codes': 'bad-request' }), { ok: false, reason: 'bad-request' }, 'not in an array')
  t.same(await verdict({ success: false, 'error-codes': ['the answer <b>'] }), { ok: false, reason: 'refused' })
  t.same(await verdict({ success: false, 'error-codes': ['x'.repeat(65)] }), { ok: false, reason: 'refused' })
  t.same(await verdict({ success: false, 'error-codes': [{ code: 5 }] }), { ok: false, reason: 'refused' })
})

test('siteverify: status 400 refuses the answer, and an internal error is an outage', async (t) => {
  const { url } = await provider(t, { success: true }, 400)
  t.same(await turnstile({ secret: SECRET, url }).verify('answer', context()), { ok: false, reason: 'refused' })
  const failing = await provider(t, { success: false, 'error-codes': ['internal-error'] })
  await t.rejects(turnstile({ secret: SECRET, url: failing.url }).verify('answer', context()), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', cause: { message: /internal error/ } })
})

test('turnstile checks the action only if one is configured', async (t) => {
  const { url } = await provider(t, siteverify({ action: 'signup' }))
  t.same(await turnstile({ secret: SECRET, url, now: () => NOW }).verify('answer', context()), { ok: true })
})

test('recaptchaEnterprise posts an event, with the API key in a header', async (t) => {
  const { url, seen } = await provider(t, assessment({ action: '' }))
  const options = { apiKey: API_KEY, projectId: 'my-project', siteKey: 'site-key', url, now: () => NOW }
  t.same(await recaptchaEnterprise(options).verify('the answer', context()), { ok: false, reason: 'wrong-action' })
  t.match(seen[0]?.headers, { 'x-goog-api-key': API_KEY, 'content-type': 'application/json' })
  t.same(JSON.parse(seen[0]?.body ?? ''), { event: { token: 'the answer', siteKey: 'site-key', expectedAction: 'login', userIpAddress: '203.0.113.7' } })
  t.same(await recaptchaEnterprise({ ...options, action: null }).verify('the answer', context({ ip: null })), { ok: true }, 'a checkbox key')
  t.same(JSON.parse(seen[1]?.body ?? ''), { event: { token: 'the answer', siteKey: 'site-key' } })
})

test('recaptchaEnterprise sends the request to the project\'s URL at Google', async (t) => {
  const addresses: string[] = []
  const { fetch } = globalThis
  t.teardown(() => { globalThis.fetch = fetch })
  globalThis.fetch = async (url) => { addresses.push(String(url)); throw new TypeError('not now') }
  await t.rejects(recaptchaEnterprise({ apiKey: API_KEY, projectId: 'my-project', siteKey: 'k' }).verify('answer', context()))
  t.same(addresses, ['https://recaptchaenterprise.googleapis.com/v1/projects/my-project/assessments'])
})

test('recaptchaEnterprise refuses an assessment with missing or unknown fields', async (t) => {
  const verdict = async (reply: object) => {
    const { url } = await provider(t, reply)
    return await recaptchaEnterprise({ apiKey: API_KEY, projectId: 'my-project', siteKey: 'k', url, now: () => NOW }).verify('answer', context())
  }
  const { tokenProperties, riskAnalysis } = assessment()
  t.same(await verdict({ tokenProperties: { ...tokenProperties, valid: 'true' }, riskAnalysis }), { ok: false, reason: 'invalid-reason-unspecified' })
  t.same(await verdict({ tokenProperties: { valid: false, invalidReason: 'BROWSER_ERROR' } }), { ok: false, reason: 'browser-error' })
  t.same(await verdict({ tokenProperties: { valid: false, invalidReason: 7 } }), { ok: false, reason: 'refused' })
  t.same(await verdict({ tokenProperties: [], riskAnalysis }), { ok: false, reason: 'refused' })
  t.same(await verdict({ tokenProperties }), { ok: false, reason: 'low-score' })
  t.same(await verdict({ tokenProperties, riskAnalysis: [0.9] }), { ok: false, reason: 'low-score' })
})

test('providers reject bad options by name, and show no key', async (t) => {
  const refuses = (make: () => unknown, message: RegExp) => t.throws(make, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
  const enterprise = (options: object) => () => recaptchaEnterprise({ apiKey: API_KEY, projectId: 'p', siteKey: 'k', ...options })
  refuses(() => hcaptcha(undefined as never), /hcaptcha\(\{ secret \}\)/)
  refuses(() => hcaptcha({} as never), /captcha\.secret must be the secret of the account, got a value of type undefined/)
  refuses(() => hcaptcha({ secret: 'SECRET \n' }), /^(?!.*SECRET)captcha\.secret must be/)
  refuses(() => hcaptcha({ secret: SECRET, siteKey: '' }), /captcha\.siteKey must be a site key/)
  refuses(() => hcaptcha({ secret: SECRET, action: 'login' } as never), /Unknown option "captcha\.action"/)
  refuses(() => turnstile(null as never), /turnstile\(\{ secret \}\)/)
  refuses(() => turnstile({ secret: 5 } as never), /captcha\.secret must be the secret key of the widget, got a value of type number/)
  refuses(() => turnstile({ secret: SECRET, action: 'a'.repeat(33) }), /captcha\.action must be an action/)
  refuses(() => recaptchaEnterprise('AIza' as never), /^(?!.*AIza)captcha must be made with an object: recaptchaEnterprise\(/)
  refuses(enterprise({ apiKey: `${API_KEY} ` }), /^(?!.*AIza)captcha\.apiKey must be an API key of the project, got another string/)
  refuses(enterprise({ projectId: '../x' }), /captcha\.projectId must be/)
  refuses(enterprise({ siteKey: undefined }), /captcha\.siteKey must be/)
  refuses(enterprise({ action: 'log in' }), /captcha\.action must be/)
  refuses(enterprise({ minScore: Infinity }), /captcha\.minScore must be a number from 0 to 1/)
  refuses(enterprise({ minScore: null }), /captcha\.minScore must be a number from 0 to 1/)
})

test('the public test secrets of providers are rejected in production', async (t) => {
  const makes: [(options: { secret: string }) => Captcha, string][] = [
    [recaptcha, '6LeIxAcTAAAAAGG-vFI1TnRWxMZNFuojJ4WifJWe'],
    [hcaptcha, '0x0000000000000000000000000000000000000000'],
    [turnstile, '1x0000000000000000000000000000000AA'],
    [turnstile, '2x0000000000000000000000000000000AA'],
    [turnstile, '3x0000000000000000000000000000000AA']
  ]
  const before = process.env['NODE_ENV']
  t.teardown(() => {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  })
  for (const [make, secret] of makes) {
    process.env['NODE_ENV'] = 'development'
    t.ok(make({ secret }), 'but not in development')
    process.env['NODE_ENV'] = 'production'
    t.throws(() => make({ secret }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: new RegExp(`^(?!.*${secret})captcha\\.secret must be .* where NODE_ENV is production, got a public test key`) })
    t.ok(make({ secret: SECRET }))
  }
})

test('with a public test secret an answer may be repeated, and its page, action and age are not checked', async (t) => {
  const who = { ip: null, failures: 0 }
  const { url } = await provider(t, { success: true, hostname: 'testkey.google.com', challenge_ts: '2020-01-01T00:00:00Z' })
  const captchas = [
    recaptcha({ secret: '6LeIxAcTAAAAAGG-vFI1TnRWxMZNFuojJ4WifJWe', version: 3, hostnames: ['example.com'], url }),
    hcaptcha({ secret: '0x0000000000000000000000000000000000000000', url }),
    turnstile({ secret: '1x0000000000000000000000000000000AA', action: 'login', url })
  ]
  for (const captcha of captchas) {
    const { guard } = guarded(captcha)
    for (let times = 0; times < 2; times++) t.equal(await guard.check('10000000-aaaa-bbbb-cccc-000000000001', who), 'solved')
  }
  const refusing = await provider(t, { success: false, 'error-codes': ['timeout-or-duplicate'] })
  const { guard } = guarded(turnstile({ secret: '3x0000000000000000000000000000000AA', url: refusing.url }))
  await t.rejects(guard.check('once', who), { code: 'FST_TOKEN_AUTH_CAPTCHA_REFUSED', detail: 'timeout-or-duplicate' })
})

const turn = () => new Promise((resolve) => setImmediate(resolve))

interface Line { level: string, fields: object, message: string }

/** A guard with a provider, the recorded steps and the logged lines. */
function guarded (captcha: Captcha | Captcha['verify'] | null, settings: Partial<CaptchaCheckSettings> = {}) {
  const lines: Line[] = []
  const steps: string[] = []
  const claimed = new Set<string>()
  const clock = { nowMs: 1000 }
  const write = (level: string) => (fields: object, message: string) => { lines.push({ level, fields, message }) }
  const provider = captcha === null ? null : readCaptcha(captcha)
  const guard = createCaptchaCheck({
    captcha: provider === null ? null : { ...provider, async verify (answer, context) { steps.push('ask'); return await provider.verify(answer, context) } },
    async useOnce (key, ttlMs) {
      steps.push(`claim ${key} ${ttlMs}`)
      if (claimed.has(key)) return false
      claimed.add(key)
      return true
    },
    pseudonym: async (purpose, text) => `${purpose}:${text.length}:${text.slice(-2)}`,
    logger: { info: write('info'), warn: write('warn'), error: write('error') },
    monotonicNow: () => clock.nowMs,
    timeoutMs: 30_000,
    ...settings
  })
  let count = 0
  const check = async (failures = 0) => await guard.check(`answer-${10 + count++}`, { ip: '203.0.113.7', failures })
  return { guard, check, lines, steps, clock }
}

const DOWN = new errors.CAPTCHA_UNAVAILABLE({ cause: new Error('the captcha provider answered 500') })
const down = async () => { throw DOWN }

test('a captcha guard requires a captcha always, or after failures', async (t) => {
  const verify = async () => true
  t.equal(guarded(null).guard.isWanted(100), false)
  t.equal(await guarded(null).check(), 'waived')
  t.equal(guarded(verify).guard.isWanted(0), true)
  const { isWanted } = guarded({ verify, when: 'after-failures' }).guard
  t.same([0, 2, 3, 4].map(isWanted), [false, false, true, true])
  t.same([0, 1].map(guarded({ verify, when: 'after-failures', afterFailures: 1 }).guard.isWanted), [false, true])
})

test('a captcha guard rejects a provider with invalid properties', async (t) => {
  const verify = async () => true
  for (const [name, value] of Object.entries({ when: 'sometimes', afterFailures: NaN, onUnavailable: 'Allow' })) {
    t.throws(() => guarded({ verify, [name]: value }), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: `captcha.${name} must be` })
  }
})

test('a captcha guard requires an answer', async (t) => {
  const { guard, steps } = guarded(async () => true)
  for (const answer of [undefined, '']) {
    await t.rejects(guard.check(answer, { ip: null, failures: 0 }), { code: 'FST_TOKEN_AUTH_CAPTCHA_REQUIRED', statusCode: 403 })
  }
  t.same(steps, [])
})

test('a captcha guard claims an answer before the request to the provider, and never sends it again', async (t) => {
  const { guard, steps } = guarded(async () => true)
  const who = { ip: '203.0.113.7', failures: 0 }
  t.equal(await guard.check('once', who), 'solved')
  await t.rejects(guard.check('once', who), { code: 'FST_TOKEN_AUTH_CAPTCHA_REFUSED', detail: 'replayed', message: 'The captcha answer was refused' })
  t.same(steps, ['claim captcha:4:ce 600000', 'ask', 'claim captcha:4:ce 600000'])
})

test('a captcha guard passes the answer, the address and a signal to the provider', async (t) => {
  const seen: unknown[] = []
  const { guard } = guarded(async (answer, { ip, signal }) => { seen.push(answer, ip, signal.aborted); return true })
  await guard.check('it', { ip: '203.0.113.7', failures: 0 })
  t.same(seen, ['it', '203.0.113.7', false])
})

test('a captcha guard accepts only true or { ok: true } as solved', async (t) => {
  const outcome = async (verdict: unknown) => await guarded(async () => verdict as CaptchaVerdict).check().catch((error) => error)
  t.equal(await outcome(true), 'solved')
  t.equal(await outcome({ ok: true }), 'solved')
  for (const verdict of [false, undefined, null, 1, 'true', {}, [], { ok: 'true' }, { ok: 1 }, { success: true }, new Error('no')]) {
    t.match(await outcome(verdict), { code: 'FST_TOKEN_AUTH_CAPTCHA_REFUSED', detail: 'refused' }, String(verdict))
  }
  t.match(await outcome({ ok: false, reason: 'too-old' }), { detail: 'too-old', message: 'The captcha answer was refused' })
  t.match(await outcome({ ok: false, reason: 'x'.repeat(65) }), { detail: 'refused' }, 'a reason that may contain the answer is not repeated')
  t.match(await outcome({ ok: false, reason: 'a\nb' }), { detail: 'refused' })
})

test('a captcha guard rejects with 503 and the cause in an outage, and logs the start of the outage', async (t) => {
  let isUp = false
  const { check, lines } = guarded(async () => { if (isUp) return true; throw DOWN })
  const unavailable = { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', statusCode: 503, retryAfterSeconds: 5, cause: { message: 'the captcha provider answered 500' } }
  await t.rejects(check(), unavailable)
  await t.rejects(check(), unavailable)
  t.same(lines, [{ level: 'warn', fields: { reason: 'the captcha provider answered 500' }, message: 'captcha: the provider cannot be reached' }])
  isUp = true
  t.equal(await check(), 'solved')
  isUp = false
  await t.rejects(check(), unavailable)
  t.equal(lines.length, 2, 'once per outage')
})

test('a captcha guard logs only the code or name of a foreign error', async (t) => {
  const reasonOf = async (error: unknown) => {
    const { check, lines } = guarded(() => { throw error })
    await t.rejects(check(), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', cause: { message: /not shown|cannot be checked/, stack: /^(?![^]*answer-10)/ } }, 'a synchronous exception is a rejection too, and its cause does not quote the answer')
    return (lines[0]?.fields as { reason: string }).reason
  }
  t.equal(await reasonOf(new TypeError('the answer is answer-10')), 'TypeError')
  t.equal(await reasonOf(Object.assign(new Error('the answer is answer-10'), { code: 'ECONNREFUSED' })), 'ECONNREFUSED')
  t.equal(await reasonOf(new errors.CAPTCHA_UNAVAILABLE()), 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE')
  for (const thrown of [null, undefined, 'answer-10']) {
    const { check, lines } = guarded(() => { throw thrown })
    await t.rejects(check(), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
    t.same(lines[0]?.fields, { reason: 'unknown' })
  }
})

test('a captcha guard with onUnavailable: allow waives the captcha in an outage for accounts with few failures', async (t) => {
  const allowing = guarded({ verify: down, onUnavailable: 'allow' })
  t.equal(await allowing.check(0), 'waived')
  t.equal(await allowing.check(2), 'waived')
  await t.rejects(allowing.check(3), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
  const strict = guarded({ verify: down, onUnavailable: 'allow', afterFailures: 1 })
  t.equal(await strict.check(0), 'waived')
  await t.rejects(strict.check(1), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
  const refusing = guarded({ verify: async () => false, onUnavailable: 'allow' })
  await t.rejects(refusing.check(0), { code: 'FST_TOKEN_AUTH_CAPTCHA_REFUSED' }, 'a refusal is not an outage')
})

test('a captcha guard waits at most its timeout for a provider that ignores the signal', async (t) => {
  const signals: AbortSignal[] = []
  const { check, lines } = guarded((_answer, { signal }) => { signals.push(signal); return new Promise(() => {}) }, { timeoutMs: 20 })
  await t.rejects(check(), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', cause: { message: /too long/ } })
  t.equal(signals[0]?.aborted, true, 'the provider\'s signal is aborted')
  t.same(lines[0]?.fields, { reason: 'the captcha provider took too long' })
})

test('a captcha guard counts the time in the queue towards its timeout', async (t) => {
  const answers: ((verdict: boolean) => void)[] = []
  const { check, clock } = guarded(() => new Promise<boolean>((resolve) => answers.push(resolve)), { timeoutMs: 60_000 })
  const startedAt = performance.now()
  const first = Array.from({ length: 32 }, async () => await check())
  const last = check().then(() => null, (error) => error)
  await turn()
  clock.nowMs += 59_980
  answers.forEach((resolve) => resolve(true))
  await Promise.all(first)
  t.match(await last, { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', cause: { message: /too long/ } }, 'it had 20 ms left')
  t.ok(performance.now() - startedAt < 30_000, 'and not a minute')
})

test('a captcha guard frees the places of requests that hang', async (t) => {
  const { check, steps, clock } = guarded(() => new Promise(() => {}), { timeoutMs: 60 })
  const causes = await Promise.all(Array.from({ length: 33 }, async () => await check().catch((error) => error.cause.message)))
  t.equal(causes.filter((cause) => cause === 'the captcha provider took too long').length, 32)
  t.equal(causes[32], 'too many captchas are being checked', 'a queued check is rejected earlier')
  clock.nowMs += 5000
  t.match(await check().catch((error) => error.cause.message), /took too long/, 'the next check gets a place')
  t.equal(steps.filter((step) => step === 'ask').length, 33)
})

test('a captcha guard sends 32 requests at once, queues 64, and rejects the rest', async (t) => {
  const answers: ((verdict: boolean) => void)[] = []
  const { check, steps, lines } = guarded({ verify: () => new Promise<boolean>((resolve) => answers.push(resolve)), onUnavailable: 'allow' }, { timeoutMs: 60_000 })
  const asked = () => steps.filter((step) => step === 'ask').length
  const all = Array.from({ length: 96 }, async () => await check())
  await turn()
  t.equal(asked(), 32)
  await t.rejects(check(), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', cause: { message: 'too many captchas are being checked' } })
  for (const round of [64, 96, 96]) {
    answers.splice(0).forEach((resolve) => resolve(true))
    await turn()
    t.equal(asked(), round)
  }
  t.same(new Set(await Promise.all(all)), new Set(['solved']))
  t.same(lines, [], 'an overload is not an outage')
})

test('a captcha guard stops requests to a failing provider for a while', async (t) => {
  let isUp = false
  const { check, steps, lines, clock } = guarded({ async verify () { if (isUp) return true; throw DOWN }, onUnavailable: 'allow' })
  const asked = () => steps.filter((step) => step === 'ask').length
  for (let i = 0; i < 5; i++) await check()
  t.equal(asked(), 5)
  t.equal(await check(), 'waived', 'the sixth is waived without a request')
  await t.rejects(check(3), { cause: { message: /not called for a while/ } })
  t.equal(asked(), 5)
  isUp = true
  clock.nowMs += 500
  t.equal(await check(), 'solved', 'a probe after half a second')
  t.equal(await check(), 'solved')
  t.equal(asked(), 7)
  t.equal(lines.length, 1)
})

test('a captcha guard rejects logins if it is misconfigured, and logs a configuration error', async (t) => {
  const { check, steps, lines, clock } = guarded({
    async verify () { throw new errors.INVALID_OPTION('captcha.secret is wrong: reCAPTCHA does not know it') },
    onUnavailable: 'allow'
  })
  for (let i = 0; i < 8; i++) await t.rejects(check(0), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', cause: { code: 'FST_TOKEN_AUTH_INVALID_OPTION' } })
  t.equal(steps.filter((step) => step === 'ask').length, 8, 'requests continue, because the provider is available')
  t.same(lines.map(({ level }) => level), ['error'])
  t.match(lines[0], { fields: { reason: /captcha\.secret is wrong/ }, message: /captcha: the secret or another option is wrong/ })
  clock.nowMs += 9_999
  await t.rejects(check())
  t.equal(lines.length, 1)
  clock.nowMs += 1
  await t.rejects(check())
  t.equal(lines.length, 2, 'after ten seconds')
})

test('a captcha guard keeps answers and keys out of its logs and errors', async (t) => {
  const { url } = await provider(t, { success: false, 'error-codes': ['invalid-input-secret'] })
  const failing = await provider(t, 'the body', 500)
  for (const captcha of [recaptcha({ secret: SECRET, url }), recaptcha({ secret: SECRET, url: failing.url }), recaptchaEnterprise({ apiKey: API_KEY, projectId: 'p', siteKey: 'k', url: failing.url })]) {
    const { guard, lines } = guarded(captcha, { timeoutMs: 30_000 })
    const error = await guard.check('CANARY', { ip: null, failures: 0 }).then(() => null, (error) => error)
    t.notMatch(`${JSON.stringify(lines)} ${error.stack} ${error.cause.stack} ${error.cause.cause}`, /CANARY|SECRET|the body/)
    t.equal(lines.length, 1)
  }
})
