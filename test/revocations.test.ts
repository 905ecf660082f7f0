import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { UserId } from '../types/user.js'
import { createRevocationWriter } from '../lib/stores/revocation-writer.js'
import { createSessionWriter } from '../lib/stores/session-writer.js'
import { createUserStore } from '../lib/stores/user-store.js'
import { caller, createApp, createUser, login, testOptions } from './helpers/app.js'
import { countingPool, until, watchRedis } from './helpers/counting.js'
import { openMigrated } from './helpers/migrated.js'
import { createDatabase, uniqueNamespace } from './helpers/services.js'

const MINUTE_MS = 60_000
const windows = { windowMs: 60 * MINUTE_MS, deletedWindowMs: 5 * MINUTE_MS }
const { pool, sql, tables } = await openMigrated(t)
const revocations = createRevocationWriter(sql, tables, windows)
const sessions = createSessionWriter(sql, tables, { maxPerUser: 100, ...windows })
const crowded = createSessionWriter(sql, tables, { maxPerUser: 1, ...windows })
const users = createUserStore(sql, tables)
const newToken = () => ({ digest: randomBytes(32).toString('base64url'), ttlMs: 60 * MINUTE_MS, ip: null, userAgent: null, label: null, scopes: null })

interface State { id: UserId, digest: string, sessionId: string }

async function createState (): Promise<State> {
  const { id } = await users.create({ username: randomBytes(6).toString('hex'), passwordHash: 'hash', fields: {} })
  const token = newToken()
  return { id, digest: token.digest, sessionId: (await sessions.issue(id, token))!.sessionId }
}

/** Every way to end a token. */
const ways: Record<string, (state: State) => Promise<unknown>> = {
  logout: ({ digest }) => revocations.token(digest, 'logout'),
  'session delete': ({ id, sessionId }) => revocations.session(id, sessionId, 'session_deleted'),
  'logout-all': ({ id }) => revocations.user(id, 'logout_all'),
  'change-password': ({ id, sessionId }) => sessions.changePassword({ userId: id, sessionId, verifiedHash: 'hash', newHash: 'new', token: newToken() }),
  setPassword: ({ id }) => revocations.setPassword(id, 'new'),
  'setActive(false)': ({ id }) => revocations.setActive(id, false),
  deleteUser: ({ id }) => revocations.deleteUser(id),
  'maxPerUser trim': ({ id }) => crowded.issue(id, newToken())
}

/** Begins `end` while somebody else holds the token's row, and gives that up only when `end` waits for it. */
async function behindLock <Result> (state: State, end: (state: State) => Promise<Result>): Promise<{ result: Result, freedAt: Date }> {
  const holder = await pool.connect()
  await holder.query('begin')
  await holder.query('select 1 from auth_tokens where id = $1 for update', [state.sessionId])
  const ended = end(state)
  await until(async () => (await pool.query('select 1 from pg_stat_activity where datname = current_database() and wait_event_type = \'Lock\'')).rows.length > 0, 'it waits for the row')
  const { rows: [{ at: freedAt }] } = await holder.query('select clock_timestamp() as at')
  await holder.query('commit')
  holder.release()
  return { result: await ended, freedAt }
}

for (const [name, end] of Object.entries(ways)) {
  t.test(`${name} is dated when it has its lock, so that its commit follows at once`, async (t) => {
    const state = await createState()
    const { freedAt } = await behindLock(state, end)
    const { rows: [row] } = await pool.query('select revoked_at >= $2 as "isLater" from auth_tokens where id = $1', [state.sessionId, freedAt])
    t.equal(row.isLater, true)
  })
}

t.test('of two that end a token at once one has ended it, and both tell its digest', async (t) => {
  const state = await createState()
  const both = async ({ digest }: State) => await Promise.all([revocations.token(digest, 'logout'), revocations.token(digest, 'revoked')])
  const { result: [one, other] } = await behindLock(state, both)
  t.equal(one.ended + other.ended, 1)
  t.same([one.digests, other.digests], [[state.digest], [state.digest]])
  t.equal(one.reason, other.reason)
})

const age = async ({ sessionId }: State, minutes: number) => {
  await pool.query('update auth_tokens set revoked_at = revoked_at - $2 * interval \'1 minute\' where id = $1', [sessionId, minutes])
}

t.test('who asks again is told of what was ended before, for as long as any cache may repeat it', async (t) => {
  const state = await createState()
  await revocations.token(state.digest, 'logout')
  const again = async () => [
    (await revocations.token(state.digest, 'logout')).digests,
    (await revocations.session(state.id, state.sessionId, 'revoked')).digests,
    (await revocations.user(state.id, 'revoked')).digests,
    await revocations.recentOf(state.id)
  ]
  await age(state, 59)
  t.same(await again(), Array(4).fill([state.digest]))
  await age(state, 2)
  t.same(await again(), Array(4).fill([]))
})

t.test('who deletes a user again is told of those who were deleted lately', async (t) => {
  const state = await createState()
  await revocations.deleteUser(state.id)
  await age(state, 4)
  t.ok((await revocations.deleteUser(state.id)).digests.includes(state.digest))
  await age(state, 2)
  t.notOk((await revocations.deleteUser(state.id)).digests.includes(state.digest))
})

t.test('a server tells caches that keep tokens for longer than its own', async (t) => {
  const database = await createDatabase()
  t.teardown(database.drop)
  const namespace = uniqueNamespace()
  const server = async (ttl: string) => await createApp(t, testOptions(database.url, { cache: { ttl, namespace } }))
  const [patient, hasty] = [await server('1h'), await server('1s')]
  const { redis } = await watchRedis(t, namespace)
  const { username } = await createUser(patient)
  const token = await login(patient, username)
  const status = async () => (await caller(patient)('GET', '/protected', { token })).statusCode
  t.equal(await status(), 200)
  const isCached = async () => (await redis.keys(`${namespace}t:*`)).length === 1
  await until(isCached, 'the entry is filled')
  // As after a logout that the cache could not be told of, whose client comes back half an hour later.
  const { pool } = countingPool(t, database.url)
  await pool.query('update auth_tokens set revoked_at = now() - interval \'30 minutes\', revoke_reason = \'logout\'')
  t.equal(await status(), 200)
  t.equal((await caller(hasty)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal(await status(), 401)
})
