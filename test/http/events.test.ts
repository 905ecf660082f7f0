import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createEvents } from '../../lib/services/events.js'
import type { AuthEventName, AuthEvents, AuthHooks } from '../../lib/index.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { until } from '../helpers/until.js'

const EVENTS: Record<AuthEventName, object> = {
  login: { userId: 1 },
  loginFailed: { reason: 'wrong_password' },
  logout: { userId: 1 },
  passwordChanged: { userId: 1 },
  passwordChangeFailed: { reason: 'wrong_password' },
  revoked: { count: 1 },
  tokenRefused: { reason: 'malformed' },
  cacheError: { operation: 'get' }
}
const REFUSALS = ['loginFailed', 'passwordChangeFailed', 'tokenRefused']

interface Line { event: string, dropped?: number, message: string }

/** Events whose hooks all call `hook`, with a log and a clock that the test controls. */
function bench (hook: (event: unknown) => unknown, log: (line: Line) => void = () => {}) {
  const lines: Line[] = []
  const due: (() => void)[] = []
  const logger = { info () {}, warn () {}, error (fields: object, message: string) { const line = { ...fields, message } as Line; lines.push(line); log(line) } }
  const hooks = Object.fromEntries(Object.keys(EVENTS).map((name) => [`on${name[0]!.toUpperCase()}${name.slice(1)}`, hook])) as AuthHooks
  const emit = createEvents({ hooks, logger, later: (callback) => { due.push(callback) } })
  return {
    lines,
    async tell (name: AuthEventName, times: number) {
      for (let i = 0; i < times; i++) emit(name, EVENTS[name] as AuthEvents[typeof name])
      await turn()
    },
    passTime: () => { for (const callback of due.splice(0)) callback() }
  }
}

t.test('a hook that hangs during a flood of bad tokens does not suppress calls of other hooks', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  const heard: string[] = []
  let hanging = 0
  const hooks: AuthHooks = {
    onTokenRefused: () => { hanging++; return new Promise(() => {}) },
    onLogin: () => { heard.push('login') },
    onLoginFailed: ({ reason }) => { heard.push(reason) }
  }
  const app = await createApp(t, testOptions(database.url, { hooks }))
  for (let i = 0; i < 1500; i++) await app.inject({ url: '/protected', headers: { authorization: 'Bearer nonsense' } })
  const { username } = await createUser(app)
  await login(app, username)
  t.equal((await caller(app)('POST', '/auth/login', { body: { username, password: 'wrong' } })).statusCode, 401)
  await until(() => heard.length === 2, 'both hooks are called')
  t.same(heard, ['login', 'wrong_password'])
  t.equal(hanging, 200)
})

t.test('each hook has its own limit of pending calls, a smaller one for events that anyone can cause', async (t) => {
  let calls = 0
  const { tell } = bench(() => { calls++; return new Promise(() => {}) })
  for (const name of Object.keys(EVENTS) as AuthEventName[]) {
    calls = 0
    await tell(name, 1100)
    t.equal(calls, REFUSALS.includes(name) ? 200 : 1000, name)
  }
})

t.test('a synchronous hook gets every event, however many occur in one turn of the event loop', async (t) => {
  let calls = 0
  const { tell, lines } = bench(() => { calls++ })
  await tell('tokenRefused', 5000)
  t.equal(calls, 5000)
  t.same(lines, [])
})

t.test('dropped events are logged at the first one and then every ten seconds with their number', async (t) => {
  const returns: (() => void)[] = []
  const { tell, lines, passTime } = bench(() => new Promise<void>((resolve) => { returns.push(resolve) }))
  const dropped = () => lines.splice(0).map(({ event, dropped }) => [event, dropped])
  await tell('tokenRefused', 200)
  t.same(dropped(), [])
  for (let i = 0; i < 50; i++) {
    await tell('tokenRefused', 3)
    // Calls return, alternately the oldest and the latest, and new calls take their places.
    returns.splice(i % 2 === 0 ? 0 : -1, 1)[0]!()
    await turn()
    await tell('tokenRefused', 1)
  }
  t.same(dropped(), [['tokenRefused', 1]])
  passTime()
  t.same(dropped(), [['tokenRefused', 149]])
  passTime()
  t.same(dropped(), [], 'nothing has been dropped since')
  await tell('tokenRefused', 2)
  await tell('login', 1001)
  t.same(dropped(), [['tokenRefused', 1], ['login', 1]], 'one line for each event')
  passTime()
  t.same(dropped(), [['tokenRefused', 1]])
})

t.test('a logger that throws does not end the process', async (t) => {
  const { tell, lines } = bench(() => { throw new Error('the hook is broken') }, () => { throw new Error('so is the log') })
  await tell('login', 1)
  t.same(lines.map(({ message }) => message), ['an event hook failed', 'an event hook failed, with an error that cannot be logged'])
})

t.test('every event of a request has its normalized IP address, or null if the address is invalid', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  const heard: [string, string | null][] = []
  const names = ['login', 'loginFailed', 'logout', 'passwordChanged', 'passwordChangeFailed', 'tokenRefused'] as const
  const hooks = Object.fromEntries(names.map((name) => [`on${name[0]!.toUpperCase()}${name.slice(1)}`, ({ reason, ip }: { reason?: string, ip: string | null }) => {
    heard.push([reason === undefined ? name : `${name} ${reason}`, ip])
  }])) as AuthHooks
  const spellings: [string, string | null][] = [['::ffff:192.0.2.7', '192.0.2.7'], ['<script>"\\', null], ['fe80::1%eth0', 'fe80::1'], [`1.2.3.4.${'5'.repeat(4000)}`, null]]
  for (const [forwarded, ip] of spellings) {
    heard.length = 0
    // Clients without a valid address share a rate limit, so each spelling gets its own server.
    const app = await createApp(t, testOptions(database.url, { hooks, rateLimit: { max: 2 } }), {
      server: { trustProxy: true },
      routes: (app) => { app.get('/scoped', { onRequest: app.authenticate.with({ scopes: ['a'] }) }, async () => '') }
    })
    const { id, username } = await createUser(app)
    const call = async (url: string, token?: string, payload?: object) => await app.inject({
      method: payload === undefined ? 'GET' : 'POST',
      url,
      headers: { 'x-forwarded-for': forwarded, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      ...(payload === undefined || Object.keys(payload).length === 0 ? {} : { payload })
    })
    const { token } = (await call('/auth/login', undefined, { username, password: PASSWORD })).json()
    for (let i = 0; i < 2; i++) await call('/auth/login', undefined, { username, password: 'wrong' })
    await call('/auth/change-password', token, { currentPassword: 'wrong', newPassword: 'another long password' })
    const changed = (await call('/auth/change-password', token, { currentPassword: PASSWORD, newPassword: 'another long password' })).json()
    await call('/protected', token)
    await call('/protected', 'nonsense')
    await call('/auth/logout', 'nonsense', {})
    await call('/auth/logout', changed.token, {})
    await call('/scoped', (await app.tokenAuth.issueToken(id, { scopes: ['b'] })).token)
    await until(() => heard.length === 10, 'all events have arrived')
    t.same(heard, ['login', 'loginFailed wrong_password', 'loginFailed rate_limited', 'passwordChangeFailed wrong_password', 'passwordChanged',
      'tokenRefused not_live', 'tokenRefused malformed', 'tokenRefused malformed', 'logout', 'tokenRefused insufficient_scope'].map((name) => [name, ip]), forwarded.slice(0, 20))
  }
})
