import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'tap'
import type { Test } from 'tap'
import { recaptcha } from '../lib/index.js'
import type { RecaptchaOptions } from '../lib/index.js'

const SECRET = '6LeSECRET-secret-key'
const NOW = Date.parse('2026-03-01T12:00:00Z')
const HUMAN = { success: true, challenge_ts: '2026-03-01T11:59:30Z', hostname: 'example.com' }
const HUMAN_V3 = { ...HUMAN, action: 'login', score: 0.9 }

type Answer = object | string | ((response: ServerResponse) => void)

interface Seen { url: string | undefined, headers: IncomingMessage['headers'], body: string }

/** A server that plays the provider's documented replies and failures. */
async function provider (t: Test, answer: Answer, status = 200) {
  const seen: Seen[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    seen.push({ url: request.url, headers: request.headers, body })
    if (typeof answer === 'function') return answer(response)
    response.writeHead(status, { 'content-type': 'application/json' }).end(typeof answer === 'string' ? answer : JSON.stringify(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/siteverify`, seen }
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
  t.equal(seen.length, 1, 'and asked once')
  t.notMatch(`${error} ${error.cause}`, SECRET, 'the secret is not told')
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

test('recaptcha refuses an empty answer without asking', async (t) => {
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
  await refused('a time that is none', { ...HUMAN, challenge_ts: 'yesterday' }, 'too-old')
  await refused('another host', { ...HUMAN, hostname: 'evil.example' }, 'wrong-hostname', { hostnames: ['example.com'] })
  await refused('a host that only ends so', { ...HUMAN, hostname: 'evil-example.com' }, 'wrong-hostname', { hostnames: ['example.com'] })
  await refused('no host', { success: true, challenge_ts: HUMAN.challenge_ts }, 'wrong-hostname', { hostnames: ['example.com'] })
  t.same(await verdictOf(t, { ...HUMAN, challenge_ts: '2026-03-01T11:58:00Z' }), { ok: true }, 'two minutes old')
  t.same(await verdictOf(t, { ...HUMAN, hostname: 'Example.com' }, { hostnames: ['EXAMPLE.com', 'www.example.com'] }), { ok: true }, 'the host in other case')
  t.same(await verdictOf(t, { ...HUMAN, challenge_ts: '2026-03-01T10:00:00Z' }, { maxAge: null }), { ok: true }, 'any age, if asked for')
  t.same(await verdictOf(t, { ...HUMAN, challenge_ts: '2026-03-01T11:30:00Z' }, { maxAge: '1h' }), { ok: true }, 'another age')
})

test('recaptcha version 3 wants the action, and a score that is a number and high enough', async (t) => {
  const verdict = async (reply: object, options: Partial<RecaptchaOptions> = {}) => await verdictOf(t, { ...HUMAN_V3, ...reply }, { version: 3, ...options })
  t.same(await verdict({}), { ok: true })
  t.same(await verdict({ score: 0.5 }), { ok: true }, 'the least score')
  t.same(await verdict({ action: 'sign_in', score: 0.8 }, { action: 'sign_in', minScore: 0.8 }), { ok: true })
  t.same(await verdict({ score: 0.49 }), { ok: false, reason: 'low-score' })
  t.same(await verdict({ score: '0.9' }), { ok: false, reason: 'low-score' }, 'a text')
  t.same(await verdict({ score: NaN }), { ok: false, reason: 'low-score' }, 'null, as JSON has NaN')
  t.same(await verdict({ score: undefined }), { ok: false, reason: 'low-score' }, 'none')
  t.same(await verdict({ action: 'signup' }), { ok: false, reason: 'wrong-action' })
  t.same(await verdict({ action: undefined }), { ok: false, reason: 'wrong-action' }, 'none')
  t.same(await verdict({ challenge_ts: '2026-03-01T11:00:00Z' }), { ok: false, reason: 'too-old' })
})

test('recaptcha rejects, and names the secret, where the provider calls it wrong', async (t) => {
  for (const code of ['missing-input-secret', 'invalid-input-secret']) {
    const error = await failureOf(t, { success: false, 'error-codes': ['bad-request', code] })
    t.match(error, { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message: /captcha\.secret is wrong/ })
  }
})

test('recaptcha rejects, and asks no second time, where the provider gives no answer', async (t) => {
  const unavailable = (error: Error & { code: string, cause: Error }, cause: RegExp) => {
    t.match(error, { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE', statusCode: 503 })
    t.match(`${error.cause.message} ${error.cause.cause}`, cause)
  }
  unavailable(await failureOf(t, HUMAN, { status: 500 }), /answered 500/)
  unavailable(await failureOf(t, HUMAN, { status: 404 }), /answered 404/)
  unavailable(await failureOf(t, '<!doctype html><title>Sorry</title>'), /JSON object/)
  unavailable(await failureOf(t, '{"success": tr'), /JSON object/)
  unavailable(await failureOf(t, 'null'), /JSON object/)
  unavailable(await failureOf(t, ''), /JSON object/)
  unavailable(await failureOf(t, JSON.stringify({ ...HUMAN, padding: 'x'.repeat(65_536) })), /more than 65536 bytes/)
  unavailable(await failureOf(t, (response) => response.writeHead(302, { location: '/elsewhere' }).end()), /redirect/)
  unavailable(await failureOf(t, (response) => { response.destroy() }), /closed/)
  unavailable(await failureOf(t, (response) => { response.writeHead(204).end() }), /answered 204/)
})

test('recaptcha rejects after its timeout, also when the answer only trickles', async (t) => {
  const silent = await failureOf(t, () => {}, { timeoutMs: 100 })
  t.match(silent.cause.message, /too long/)
  const trickling = await failureOf(t, (response) => { response.writeHead(200).write('{') }, { timeoutMs: 100 })
  t.match(trickling.cause.message, /too long/)
})

test('recaptcha stops when its caller does', async (t) => {
  const { url } = await provider(t, () => {})
  const captcha = recaptcha({ secret: SECRET, url })
  await t.rejects(captcha.verify('answer', context({ signal: AbortSignal.abort() })), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
  await t.rejects(captcha.verify('answer', context({ signal: AbortSignal.timeout(50) })), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
})

test('recaptcha rejects where nothing listens', async (t) => {
  const captcha = recaptcha({ secret: SECRET, url: 'http://127.0.0.1:1/' })
  await t.rejects(captcha.verify('answer', context()), { code: 'FST_TOKEN_AUTH_CAPTCHA_UNAVAILABLE' })
})

test('recaptcha refuses bad options by name, and never shows the secret', async (t) => {
  const refuses = (options: object | undefined, message: RegExp) => {
    t.throws(() => recaptcha(options as RecaptchaOptions), { code: 'FST_TOKEN_AUTH_INVALID_OPTION', message })
  }
  refuses(undefined, /captcha must be made with an object/)
  refuses(SECRET as unknown as object, /^(?!.*6LeSECRET)captcha must be made with an object/)
  refuses({}, /captcha\.secret must be the secret key of the site, got a value of type undefined/)
  refuses({ secret: `${SECRET} ` }, /^(?!.*6LeSECRET)captcha\.secret must be/)
  refuses({ secret: SECRET, sitekey: 'x' }, /Unknown option "captcha\.sitekey"; there are: secret, version/)
  refuses({ secret: SECRET, version: '3' }, /captcha\.version must be 2 or 3, got "3"/)
  refuses({ secret: SECRET, version: 3, action: 'log in' }, /captcha\.action must be an action/)
  refuses({ secret: SECRET, version: 3, minScore: 1.1 }, /captcha\.minScore must be a number from 0 to 1, got 1\.1/)
  refuses({ secret: SECRET, version: 3, minScore: NaN }, /captcha\.minScore must be/)
  refuses({ secret: SECRET, version: 3, minScore: '0.5' }, /captcha\.minScore must be/)
  refuses({ secret: SECRET, minScore: 0.9 }, /captcha\.minScore needs version: 3/)
  refuses({ secret: SECRET, action: 'login' }, /captcha\.action needs version: 3/)
  refuses({ secret: SECRET, hostnames: [] }, /captcha\.hostnames must be an array that is not empty/)
  refuses({ secret: SECRET, hostnames: ['https://example.com'] }, /captcha\.hostnames\[0\] must be a host name/)
  refuses({ secret: SECRET, maxAge: 10 }, /captcha\.maxAge must be a duration of at least 1 s, got 10/)
  refuses({ secret: SECRET, timeoutMs: 0 }, /captcha\.timeoutMs must be an integer/)
  refuses({ secret: SECRET, now: 5 }, /captcha\.now must be a function/)
  refuses({ secret: SECRET, url: 'http://captcha.example/' }, /captcha\.url must be an https URL/)
  refuses({ secret: SECRET, url: 'nonsense' }, /captcha\.url must be an https URL/)
  refuses({ secret: SECRET, url: 5 }, /captcha\.url must be an https URL/)
  t.ok(recaptcha({ secret: SECRET, url: 'https://captcha.example/siteverify', hostnames: null, version: 3 }))
})
