import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { sql } from 'kysely'
import type { AuthPluginOptions, Hasher } from '../../lib/index.js'
import { caller, countingHasher, createApp, createUser, fastHasher, login, PASSWORD, testOptions } from '../helpers/app.js'
import { startServer } from '../helpers/processes.js'
import { createRedisServer } from '../helpers/redis-server.js'
import { createDatabase, redisUrl, uniqueNamespace } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'
import { openKysely } from '../helpers/pools.js'

const database = await createDatabase()
t.teardown(database.drop)
const db = openKysely(t, database.url)

const limits = { max: 5, delay: '10m', maxDelay: '12h' } as const

function guarded (options: Partial<AuthPluginOptions> = {}): AuthPluginOptions {
  return testOptions(database.url, { accountLimit: limits, ...options })
}

interface Try { username: string, password?: string, ip?: string, captchaToken?: string }

async function attempt (app: FastifyInstance, { username, password = 'a wrong password', ip = '198.51.100.1', captchaToken }: Try) {
  return await app.inject({ method: 'POST', url: '/auth/login', remoteAddress: ip, payload: { username, password, ...(captchaToken === undefined ? {} : { captchaToken }) } })
}

async function statuses (app: FastifyInstance, count: number, one: Try | ((i: number) => Try)): Promise<number[]> {
  const seen: number[] = []
  for (let i = 0; i < count; i++) seen.push((await attempt(app, typeof one === 'function' ? one(i) : one)).statusCode)
  return seen
}

/** Ends every wait of a namespace by changing the stored times, because the clock of Redis cannot be moved. */
async function endWaits (t: Test, namespace: string): Promise<void> {
  const redis = new Redis(redisUrl())
  t.teardown(() => redis.disconnect())
  for (const key of await redis.keys(`${namespace}a:*`)) {
    const [failures, , ...rest] = String(await redis.get(key)).split(' ')
    await redis.set(key, [failures, 0, ...rest].join(' '), 'KEEPTTL')
  }
}

t.test('all refused logins get identical answers and the same hashing work', async (t) => {
  const hasher = countingHasher()
  const app = await createApp(t, guarded({ hasher, accountLimit: false }))
  const usernames = Object.fromEntries(await Promise.all(['wrong', 'inactive', 'none', 'unusable', 'damaged', 'foreign', 'empty', 'absurd'].map(async (kind) => {
    const { id, username } = await createUser(app)
    return [kind, { id, username }] as const
  }))) as Record<string, { id: string, username: string }>
  const store = (kind: string, hash: string | null) => sql`update users set password_hash = ${hash} where id = ${usernames[kind]!.id}`.execute(db)
  await app.tokenAuth.setActive(usernames['inactive']!.id, false)
  await store('none', null)
  await store('unusable', '!NYDxzHfbFcgOcqL3i1zB2f6Eb2n6jn1ZAGnhMvwP')
  await store('damaged', '$2b$04$tooshort')
  await store('foreign', 'md5$jv0fTxkvCnfMXuCW2vZb0J$566d48116eedd52d628765210ede2e7b')
  await store('empty', '')
  await store('absurd', '$argon2id$v=19$m=8388608,t=1000,p=1$c29tZXNhbHRzYWx0$dBqZsOWdXoIwB9c9lbJxUQ')
  const cases: [string, Try][] = [
    ['unknown', { username: 'nobody at all' }],
    ...Object.entries(usernames).map(([kind, { username }]): [string, Try] => [kind, { username }]),
    ['inactive with the right password', { username: usernames['inactive']!.username, password: PASSWORD }],
    ['a long password', { username: usernames['wrong']!.username, password: 'x'.repeat(1000) }],
    ['a long password of nobody', { username: 'nobody', password: 'x'.repeat(1000) }]
  ]
  const answers: [string, object][] = []
  for (const [name, one] of cases) {
    hasher.asked.length = 0
    const { statusCode, rawPayload, headers: { date, ...headers } } = await attempt(app, one)
    answers.push([name, { statusCode, body: rawPayload.toString('hex'), headers, asked: [...hasher.asked] }])
  }
  const [, expected] = answers[0]!
  t.match(expected, { statusCode: 401, asked: ['verify 4'] })
  for (const [name, answer] of answers) t.same(answer, expected, name)
})

t.test('the dummy hash follows the configured hasher', async (t) => {
  const made: string[] = []
  const verified: string[] = []
  const hasher: Hasher = {
    ...fastHasher,
    async hash (password) {
      const hash = await fastHasher.hash(password)
      made.push(hash)
      return hash
    },
    async verify (password, hash) {
      verified.push(hash)
      return await fastHasher.verify(password, hash)
    }
  }
  const app = await createApp(t, guarded({ hasher }))
  await attempt(app, { username: 'nobody' })
  t.same(verified, made)
  t.equal(made.length, 1)
})

t.test('failed logins delay the next attempt for an account, longer each time, whether the username exists or not', async (t) => {
  const options = guarded()
  const app = await createApp(t, options)
  const { username } = await createUser(app)
  for (const name of [username, 'somebody else']) {
    t.same(await statuses(app, 6, (i) => ({ username: name, ip: `198.51.100.${i}` })), [401, 401, 401, 401, 401, 429], 'whatever the address')
    const waits: number[] = []
    const minutes = (reply: Awaited<ReturnType<typeof attempt>>) => Number(reply.headers['retry-after']) / 60
    for (const free of [1, 2]) {
      const refused = await attempt(app, { username: name })
      t.match(refused.json(), { code: 'FST_TOKEN_AUTH_RATE_LIMITED' })
      waits.push(minutes(refused))
      await endWaits(t, options.cache!.namespace!)
      t.same(await statuses(app, 2, { username: name }), [401, 429], `after wait ${free} one attempt`)
    }
    waits.push(minutes(await attempt(app, { username: name })))
    t.ok(waits[0]! > 5 && waits[0]! <= 10 && waits[1]! > 15 && waits[1]! <= 20 && waits[2]! > 35 && waits[2]! <= 40, `they double: ${waits}`)
  }
})

t.test('a refused attempt is answered without a hash', async (t) => {
  const hasher = countingHasher()
  const app = await createApp(t, guarded({ hasher }))
  await statuses(app, 5, { username: 'nobody' })
  hasher.asked.length = 0
  t.equal((await attempt(app, { username: 'nobody' })).statusCode, 429)
  t.same(hasher.asked, [])
})

t.test('successful logins do not count, and clear the failures before', async (t) => {
  const app = await createApp(t, guarded())
  const { username } = await createUser(app)
  t.same(await statuses(app, 20, { username, password: PASSWORD }), Array(20).fill(200))
  t.same(await statuses(app, 4, { username }), [401, 401, 401, 401])
  t.same(await statuses(app, 1, { username, password: PASSWORD }), [200])
  t.same(await statuses(app, 4, { username }), [401, 401, 401, 401])
  t.same(await statuses(app, 1, { username, password: PASSWORD }), [200])
})

t.test('spellings that a database may treat as one username share the count', async (t) => {
  const app = await createApp(t, guarded())
  const spellings = ['kim.ärger', 'KIM.ÄRGER', ' kim.ärger ', 'kim.a\u0308rger', '\uFF4Bim.ärger', '\u212Aim.ärger', 'kim.arger', 'ki\u200Bm.ärger']
  t.same(await statuses(app, spellings.length, (i) => ({ username: spellings[i]! })), [401, 401, 401, 401, 401, 429, 429, 429])
})

t.test('a successful login of another account that shares the count does not clear it', async (t) => {
  for (const redis of [{ url: redisUrl() }, undefined]) {
    const app = await createApp(t, guarded({ redis }))
    const { username } = await createUser(app)
    await createUser(app, username.toUpperCase())
    let [token, password] = [await login(app, username.toUpperCase()), PASSWORD]
    const seen: number[] = []
    for (const newPassword of ['another long password', 'a third long password', PASSWORD]) {
      seen.push(...await statuses(app, 3, { username }))
      await attempt(app, { username: username.toUpperCase(), password })
      const reply = await caller(app)('POST', '/auth/change-password', { token, body: { currentPassword: password, newPassword } })
      if (reply.statusCode === 200) [token, password] = [reply.json().token, newPassword]
    }
    t.same(seen, [401, 401, 401, 401, 401, 429, 429, 429, 429], redis === undefined ? 'in the process' : 'in Redis')
  }
})

t.test('failed logins of an attacker do not lock out the owner', async (t) => {
  t.test('the owner can log in from an address of a recent login', async (t) => {
    const options = guarded()
    const app = await createApp(t, options)
    const { username } = await createUser(app)
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.9' })).statusCode, 200)
    await statuses(app, 7, { username, ip: '198.51.100.66' })
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '198.51.100.66' })).statusCode, 429, 'the attacker, even with the right password')
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.9' })).statusCode, 200, 'the owner')
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '::ffff:203.0.113.9' })).statusCode, 200, 'over IPv6')
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.10' })).statusCode, 429, 'another address')
    t.same(await statuses(app, 6, { username, ip: '203.0.113.9' }), [401, 401, 401, 401, 401, 429], 'that address has its own limit')
  })

  t.test('the owner can log in from the same /64 as a recent login over IPv6', async (t) => {
    const app = await createApp(t, guarded())
    const { username } = await createUser(app)
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '2001:db8:1:2::7' })).statusCode, 200)
    await statuses(app, 6, { username })
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '2001:db8:1:2:ffff::1' })).statusCode, 200)
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '2001:db8:1:3::7' })).statusCode, 429)
  })

  t.test('the owner can log in from anywhere with a solved captcha', async (t) => {
    const captcha = { when: 'after-failures' as const, verify: async (answer: string) => answer.startsWith('solved') }
    const app = await createApp(t, guarded({ captcha }))
    const { username } = await createUser(app)
    await statuses(app, 10, (i) => ({ username, captchaToken: `solved by a stranger ${i}` }))
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.9' })).json().code, 'FST_TOKEN_AUTH_CAPTCHA_REQUIRED')
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.9', captchaToken: 'no idea' })).json().code, 'FST_TOKEN_AUTH_CAPTCHA_REFUSED')
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.9', captchaToken: 'solved by the owner' })).statusCode, 200)
  })

  t.test('a solved captcha also works before it is required', async (t) => {
    const captcha = { when: 'after-failures' as const, afterFailures: 50, verify: async (answer: string) => answer.startsWith('solved') }
    const app = await createApp(t, guarded({ captcha }))
    const { username } = await createUser(app)
    await statuses(app, 6, { username })
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.9' })).statusCode, 429)
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '203.0.113.9', captchaToken: 'solved' })).statusCode, 200)
  })

  t.test('an address whose session was revoked no longer counts as the owner\'s', async (t) => {
    const app = await createApp(t, guarded())
    const { id, username } = await createUser(app)
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '192.0.2.66' })).statusCode, 200)
    await app.tokenAuth.revokeUser(id)
    await statuses(app, 6, { username })
    t.equal((await attempt(app, { username, password: PASSWORD, ip: '192.0.2.66' })).statusCode, 429)
  })
})

t.test('of fifty concurrent guesses at two processes no more than the limit are verified', async (t) => {
  const namespace = uniqueNamespace()
  // Long time limits, so that a busy machine does not refuse guesses that wait for a place.
  const patient = { lookup: { maxWait: '1m', timeout: '1m' }, hashing: { maxWait: '1m' } }
  const options = { ...patient, database: { connectionString: database.url }, redis: { url: redisUrl(), commandTimeout: 10_000 }, rateLimit: false as const, accountLimit: limits, cache: { namespace } }
  const app = await createApp(t, guarded())
  const { username } = await createUser(app)
  for (const name of [username, 'not there']) {
    const origins = [await startServer(t, options), await startServer(t, options)]
    const guess = async (i: number) => {
      const body = JSON.stringify({ username: name, password: `guess ${i}` })
      const reply = await fetch(`${origins[i % 2]}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
      return reply.status
    }
    const seen = await Promise.all(Array.from({ length: 50 }, (_, i) => guess(i)))
    t.equal(seen.filter((status) => status === 401).length, 5)
    t.equal(seen.filter((status) => status === 429).length, 45)
    const verified = await Promise.all(origins.map(async (origin) => Number(await (await fetch(`${origin}/test/verified`)).text())))
    t.equal(verified[0]! + verified[1]!, 5, 'passwords that were verified')
  }
})

t.test('a successful login allows no additional guesses while others are in progress', async (t) => {
  for (const redis of [{ url: redisUrl(), commandTimeout: 5000 }, undefined]) {
    let release = () => {}
    const held = new Promise<void>((resolve) => { release = resolve })
    let guesses = 0
    const verify: Hasher['verify'] = async (password, hash) => {
      if (password === PASSWORD) return true
      guesses++
      await held
      return await fastHasher.verify(password, hash)
    }
    const app = await createApp(t, guarded({ redis, hasher: { ...fastHasher, verify }, hashing: { concurrency: 100 } }))
    const { username } = await createUser(app)
    const answers: Promise<number>[] = []
    const guess = (count: number) => answers.push(...Array.from({ length: count }, () => attempt(app, { username }).then(({ statusCode }) => statusCode)))
    guess(4)
    await until(() => guesses === 4, 'four are in progress')
    for (let i = 0; i < 5; i++) t.same(await statuses(app, 1, { username, password: PASSWORD, ip: '203.0.113.9' }), [200])
    guess(20)
    await until(() => guesses === 5, 'there is room for one more')
    t.equal(await Promise.race(answers), 429)
    release()
    t.same((await Promise.all(answers)).sort(), [...Array(5).fill(401), ...Array(19).fill(429)])
    t.equal(guesses, 5)
    t.same(await statuses(app, 1, { username, password: PASSWORD }), [429], 'the guesses in progress have failed')
  }
})

t.test('a restart does not reset the counts', async (t) => {
  const options = guarded()
  const first = await createApp(t, options)
  await statuses(first, 5, { username: 'nobody' })
  await first.close()
  const second = await createApp(t, options)
  t.same(await statuses(second, 1, { username: 'nobody' }), [429])
})

t.test('a flood of other usernames does not evict a count, with or without Redis', async (t) => {
  const free: Hasher = { hash: async () => 'free', verify: async () => false, needsRehash: () => false, understands: () => true }
  // The test of the counters has more names.
  const others = 400
  for (const redis of [{ url: redisUrl() }, undefined]) {
    const app = await createApp(t, guarded({ hasher: free, redis, accountLimit: { delay: '1h' } }))
    t.same(await statuses(app, 6, { username: 'the target' }), [401, 401, 401, 401, 401, 429])
    for (let i = 0; i < others; i += 200) {
      await Promise.all(Array.from({ length: 200 }, (_, j) => attempt(app, { username: `name ${i + j}` })))
    }
    t.same(await statuses(app, 1, { username: 'the target' }), [429], redis === undefined ? 'in the process' : 'in Redis')
  }
})

t.test('change-password shares the count of failed logins', async (t) => {
  const app = await createApp(t, guarded())
  const call = caller(app)
  const { username } = await createUser(app)
  const token = await login(app, username)
  const change = (currentPassword: string, remoteAddress = '198.51.100.5') => app.inject({
    method: 'POST', url: '/auth/change-password', remoteAddress, headers: { authorization: `Bearer ${token}` }, payload: { currentPassword, newPassword: 'another long password' }
  })
  t.same(await statuses(app, 3, { username }), [401, 401, 401])
  t.equal((await change('wrong')).statusCode, 403)
  t.equal((await change('wrong')).statusCode, 403)
  const limited = await change(PASSWORD)
  t.equal(limited.statusCode, 429)
  t.match(limited.headers['retry-after'], /^\d+$/)
  t.equal((await attempt(app, { username, password: PASSWORD })).statusCode, 429, 'the login too')
  t.equal((await call('POST', '/auth/change-password', { token, body: { currentPassword: 'wrong', newPassword: 'another long password' } })).statusCode, 403, 'the address where the session began has its own count')
  t.equal((await change(PASSWORD, '127.0.0.1')).statusCode, 200)
})

t.test('change-password also counts a refused new password, which limits the hashes that a client can cause', async (t) => {
  const hasher = countingHasher()
  const app = await createApp(t, guarded({ hasher, hashing: { concurrency: 100 }, lookup: { maxWait: '60s', timeout: '60s' } }))
  const { username } = await createUser(app)
  const token = await login(app, username)
  const change = (newPassword: string, remoteAddress = '198.51.100.5') => app.inject({
    method: 'POST', url: '/auth/change-password', remoteAddress, headers: { authorization: `Bearer ${token}` }, payload: { currentPassword: PASSWORD, newPassword }
  })
  hasher.asked.length = 0
  const replies = await Promise.all(Array.from({ length: 60 }, () => change(PASSWORD)))
  t.same(replies.map(({ statusCode }) => statusCode).sort(), [...Array(5).fill(400), ...Array(55).fill(429)])
  t.equal(hasher.asked.length, 5)
  t.equal((await change('another long password')).statusCode, 429)
  t.equal((await attempt(app, { username, password: PASSWORD })).statusCode, 429)
  t.equal((await change('another long password', '127.0.0.1')).statusCode, 200, 'the address of the session has its own count')
})

t.test('a successful change clears the refused ones before', async (t) => {
  const app = await createApp(t, guarded())
  const { username } = await createUser(app)
  const call = caller(app)
  const change = async (token: string, newPassword: string) => await call('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword } })
  const token = await login(app, username)
  for (let i = 0; i < 4; i++) t.equal((await change(token, PASSWORD)).statusCode, 400)
  t.equal((await change(token, 'another long password')).statusCode, 200)
  t.same(await statuses(app, 5, { username }), [401, 401, 401, 401, 401])
})

t.test('attempts whose password was not verified do not count', async (t) => {
  t.test('a login that the database could not answer', async (t) => {
    const app = await createApp(t, guarded())
    await sql`alter table users rename to users_away`.execute(db)
    try {
      t.same(await statuses(app, 7, { username: 'nobody' }), Array(7).fill(503))
    } finally {
      await sql`alter table users_away rename to users`.execute(db)
    }
    t.same(await statuses(app, 6, { username: 'nobody' }), [401, 401, 401, 401, 401, 429])
  })

  t.test('a login that the hashing queue refused', async (t) => {
    let release = () => {}
    const held = new Promise<void>((resolve) => { release = resolve })
    const slow: Hasher = { ...fastHasher, verify: async (password, hash) => { await held; return await fastHasher.verify(password, hash) } }
    const app = await createApp(t, guarded({ hasher: slow, hashing: { concurrency: 1, queue: 1, maxWait: '30s' } }))
    const names = ['a', 'b', 'c']
    const replies = names.map(async (username) => ({ username, reply: await attempt(app, { username }) }))
    const { username, reply } = await Promise.race(replies)
    t.equal(reply.statusCode, 503)
    t.match(reply.json(), { code: 'FST_TOKEN_AUTH_OVERLOADED' })
    t.match(reply.headers['retry-after'], /^[1-9]\d*$/)
    release()
    t.same((await Promise.all(replies)).map(({ reply }) => reply.statusCode).sort(), [401, 401, 503])
    t.same(await statuses(app, 6, { username }), [401, 401, 401, 401, 401, 429])
  })

  t.test('many concurrent logins that the hashing queue refuses send no Redis commands', async (t) => {
    let release = () => {}
    const held = new Promise<void>((resolve) => { release = resolve })
    const slow: Hasher = { ...fastHasher, verify: async () => { await held; return false } }
    const options = guarded({ hasher: slow, hashing: { concurrency: 1, queue: 2, maxWait: '60s' } })
    const app = await createApp(t, options)
    const { take } = await watchRedis(t, options.cache!.namespace!)
    let refused = 0
    const replies = Array.from({ length: 60 }, async (_, i) => {
      const { statusCode } = await attempt(app, { username: `name ${i}` })
      if (statusCode === 503) refused++
      return statusCode
    })
    await until(() => refused === 57, 'all except three are refused')
    release()
    t.same((await Promise.all(replies)).sort(), [...Array(3).fill(401), ...Array(57).fill(503)])
    t.same(await take(), Array(6).fill('eval'), 'an attempt that is counted and fails, three times')
  })

  t.test('a login whose hasher fails, which is answered 503 and never succeeds', async (t) => {
    const broken: Hasher = { ...fastHasher, verify: async () => { throw new Error('out of memory') } }
    const app = await createApp(t, guarded({ hasher: broken }))
    const { username } = await createUser(app)
    t.same(await statuses(app, 7, { username, password: PASSWORD }), Array(7).fill(503))
  })
})

t.test('without Redis each process counts separately, with a stricter limit', async (t) => {
  const server = await createRedisServer(t)
  await server.start()
  const app = await createApp(t, guarded({ redis: { url: server.url } }))
  t.same(await statuses(app, 1, { username: 'nobody' }), [401])
  await server.kill()
  t.same(await statuses(app, 5, { username: 'somebody' }), [401, 401, 401, 429, 429])
  await server.start()
})

t.test('accountLimit: false counts nothing', async (t) => {
  const options = guarded({ accountLimit: false })
  const app = await createApp(t, options)
  const { redis, take } = await watchRedis(t, options.cache!.namespace!)
  t.same(await statuses(app, 10, { username: 'nobody' }), Array(10).fill(401))
  t.same(await take(), [], 'and sends no Redis commands')
  t.same(await redis.keys(`${options.cache!.namespace}a:*`), [])
})

t.test('accountLimit: false still counts failures for a captcha, but delays no login', async (t) => {
  const captcha = { when: 'after-failures' as const, afterFailures: 2, verify: async (answer: string) => answer.startsWith('solved') }
  const app = await createApp(t, guarded({ accountLimit: false, captcha }))
  t.same(await statuses(app, 3, { username: 'nobody' }), [401, 401, 403])
  t.same(await statuses(app, 10, (i) => ({ username: 'nobody', captchaToken: `solved ${i}` })), Array(10).fill(401))
})
