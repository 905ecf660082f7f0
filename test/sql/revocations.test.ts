import { randomBytes } from 'node:crypto'
import t from 'tap'
import type { StalePage } from '../../lib/ports.js'
import type { UserId } from '../../types/user.js'
import { createRevocationStore } from '../../lib/sql/revocations.js'
import { createSessionStore } from '../../lib/sql/sessions.js'
import { createTokenStore } from '../../lib/sql/tokens.js'
import { createUserStore } from '../../lib/sql/users.js'
import { caller, createApp, createUser, login, testOptions } from '../helpers/app.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { countingPool, openMigrated } from '../helpers/pools.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'
import { SILENT } from '../helpers/silent.js'

const MINUTE_MS = 60_000
const CACHE_TTL_MS = 5 * MINUTE_MS
const { pool, sql, tables } = await openMigrated(t)
const revocations = createRevocationStore(sql, tables, { cacheTtlMs: CACHE_TTL_MS })
const reader = createTokenStore(sql, tables, { idleTtlMs: null, cacheTtlMs: CACHE_TTL_MS })
const sessions = createSessionStore(sql, tables, { maxPerUser: 100, cacheTtlMs: CACHE_TTL_MS })
const crowded = createSessionStore(sql, tables, { maxPerUser: 1, cacheTtlMs: CACHE_TTL_MS })
const users = createUserStore(sql, tables, SILENT)
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

/** All pages of the list in one. */
async function listed (limit: number): Promise<StalePage> {
  const all: StalePage = { revoked: [], refreshed: [] }
  for await (const { revoked, refreshed } of reader.listStale(limit)) {
    all.revoked.push(...revoked)
    all.refreshed.push(...refreshed)
  }
  return all
}

/** Calls `end` while another transaction locks the token's row, and commits that transaction once `end` waits for the row. */
async function behindLock <Result> (state: State, end: (state: State) => Promise<Result>, hold = 'select 1 from auth_tokens where id = $1 for update'): Promise<{ result: Result, freedAt: Date }> {
  const holder = await pool.connect()
  await holder.query('begin')
  await holder.query(hold, [state.sessionId])
  const ended = end(state)
  await until(async () => (await pool.query('select 1 from pg_stat_activity where datname = current_database() and wait_event_type = \'Lock\'')).rows.length > 0, 'it waits for the row')
  const { rows: [{ at: freedAt }] } = await holder.query('select clock_timestamp() as at')
  await holder.query('commit')
  holder.release()
  return { result: await ended, freedAt }
}

for (const [name, end] of Object.entries(ways)) {
  t.test(`${name} takes its date after it gets the row lock, just before its commit`, async (t) => {
    const state = await createState()
    const { freedAt } = await behindLock(state, end)
    const { rows: [row] } = await pool.query('select revoked_at >= $2 as "isLater", stale_at = revoked_at as "isStale" from auth_tokens where id = $1', [state.sessionId, freedAt])
    t.same(row, { isLater: true, isStale: true })
  })
}

t.test('of two concurrent revocations of a token one counts, and both return its digest', async (t) => {
  const state = await createState()
  const both = async ({ digest }: State) => await Promise.all([revocations.token(digest, 'logout'), revocations.token(digest, 'revoked')])
  const { result: [one, other] } = await behindLock(state, both)
  t.equal(one.count + other.count, 1)
  t.same([one.digests, other.digests], [[state.digest], [state.digest]])
  t.equal(one.reason, other.reason)
})

const age = async ({ sessionId }: State, minutes: number) => {
  await pool.query('update auth_tokens set revoked_at = revoked_at - $2 * interval \'1 minute\', stale_at = stale_at - $2 * interval \'1 minute\' where id = $1', [sessionId, minutes])
}

/** Minutes since the revocation, and since `stale_at`: cached entries from before it are void. */
async function agesOf ({ sessionId }: State): Promise<{ revoked: number, stale: number }> {
  const { rows: [row] } = await pool.query(`select extract(epoch from now() - revoked_at)::float8 / 60 as revoked, extract(epoch from now() - stale_at)::float8 / 60 as stale
    from auth_tokens where id = $1`, [sessionId])
  return { revoked: Math.floor(row.revoked), stale: Math.floor(row.stale) }
}

t.test('a revocation of one token that is repeated within a day returns its digest and renews stale_at', async (t) => {
  const again: Record<string, (state: State) => Promise<{ count: number, digests: string[] }>> = {
    token: ({ digest }) => revocations.token(digest, 'logout'),
    session: ({ id, sessionId }) => revocations.session(id, sessionId, 'revoked')
  }
  for (const [name, call] of Object.entries(again)) {
    const state = await createState()
    await revocations.token(state.digest, 'logout')
    await age(state, 23 * 60)
    t.match(await call(state), { count: 0, digests: [state.digest] }, name)
    t.same(await agesOf(state), { revoked: 23 * 60, stale: 0 })
    await age(state, 61)
    t.match(await call(state), { count: 0, digests: [] }, name)
  }
})

t.test('a repeated call does not renew a recent stale_at', async (t) => {
  const state = await createState()
  const instant = async () => (await pool.query('select stale_at from auth_tokens where id = $1', [state.sessionId])).rows[0].stale_at
  await revocations.token(state.digest, 'logout')
  const first = await instant()
  await revocations.token(state.digest, 'logout')
  t.same(await instant(), first)
})

t.test('a call that ends all sessions of a user also returns revoked ones that a cache may still have', async (t) => {
  const state = await createState()
  await revocations.token(state.digest, 'logout')
  const again = async () => (await revocations.user(state.id, 'revoked')).digests
  await age(state, 5)
  t.same(await again(), [state.digest])
  await age(state, 1)
  t.same(await again(), [], 'no longer returned')
})

t.test('the longest cache TTL of all servers applies, until its server has been absent for a day', async (t) => {
  const state = await createState()
  await revocations.token(state.digest, 'logout')
  const known = async () => [
    (await revocations.user(state.id, 'revoked')).digests.length,
    (await listed(100)).revoked.filter((digest) => digest === state.digest).length
  ]
  await age(state, 59)
  t.same(await known(), [0, 0])
  const seen = async (ago: string) => await pool.query(`insert into auth_tokens_caches values ('other:', 3600000, now() - interval '${ago}')
    on conflict (namespace, ttl_ms) do update set seen_at = excluded.seen_at`)
  await seen('24 hours')
  t.same(await known(), [1, 1])
  await seen('26 hours')
  t.same(await known(), [0, 0])
  await pool.query('delete from auth_tokens_caches')
})

t.test('a repeated logout-all finds the tokens that it revoked, and no others', async (t) => {
  const { id, digest, sessionId } = await createState()
  const [second, loggedOut, newer] = [newToken(), newToken(), newToken()]
  for (const token of [second, loggedOut]) await sessions.issue(id, token)
  await revocations.token(loggedOut.digest, 'logout')
  t.equal(await revocations.endedTogether(digest), null, 'while it is live')
  await revocations.user(id, 'logout_all')
  await sessions.issue(id, newer)
  await age({ id, digest, sessionId }, 0)
  const together = async (digest: string) => (await revocations.endedTogether(digest))?.digests.sort()
  t.same(await together(digest), [digest, second.digest].sort())
  t.same(await together(second.digest), [digest, second.digest].sort())
  t.equal(await revocations.endedTogether(loggedOut.digest), null, 'it was revoked separately')
  t.equal(await revocations.endedTogether(newer.digest), null)
  t.not(await reader.find(newer.digest), null)
})

t.test('findEnded waits for transactions that may revoke the token, and then returns it', async (t) => {
  const digestOf = (state: State) => ({ digest: state.digest })
  const userOf = (state: State) => ({ userId: state.id })
  const revoke = 'update auth_tokens set revoked_at = now() - interval \'1 minute\', stale_at = now() - interval \'1 minute\' where id = $1'
  for (const subjectOf of [digestOf, userOf]) {
    const state = await createState()
    const { result } = await behindLock(state, (state) => revocations.findEnded(subjectOf(state), 2 * MINUTE_MS), revoke)
    t.ok(result.includes(state.digest))
    t.same(await agesOf(state), { revoked: 1, stale: 0 }, 'its commit came late, so stale_at is renewed')
    const live = await createState()
    t.notOk((await revocations.findEnded(subjectOf(live), MINUTE_MS)).includes(live.digest), 'a live token is not returned')
  }
})

t.test('findEnded also finds the tokens of a user who is being deleted', async (t) => {
  const state = await createState()
  const { result } = await behindLock(state, ({ id }) => revocations.findEnded({ userId: id }, MINUTE_MS),
    'with gone as (update auth_tokens set revoked_at = now(), stale_at = now() where id = $1 returning user_id) delete from users where id = (select user_id from gone)')
  t.ok(result.includes(state.digest))
})

t.test('a repeated deleteUser returns the tokens of recently deleted users', async (t) => {
  const state = await createState()
  await revocations.deleteUser(state.id)
  await age(state, 5)
  t.ok((await revocations.deleteUser(state.id)).digests.includes(state.digest))
  await age(state, 1)
  t.notOk((await revocations.deleteUser(state.id)).digests.includes(state.digest))
})

t.test('a refresh stays listed for as long as a cache may have the old user', async (t) => {
  const state = await createState()
  const [loggedOut, old] = [newToken(), newToken()]
  for (const token of [loggedOut, old]) await sessions.issue(state.id, token)
  for (const { digest } of [loggedOut, old]) await revocations.token(digest, 'logout')
  await pool.query('update auth_tokens set stale_at = now() - interval \'6 minutes\' where digest = $1', [Buffer.from(old.digest, 'base64url')])
  t.same((await revocations.refresh(state.id)).sort(), [state.digest, loggedOut.digest].sort())
  const isListed = async () => (await listed(1000)).refreshed.includes(state.digest)
  t.equal(await isListed(), true)
  await age(state, 6)
  t.equal(await isListed(), false)
  t.not(await reader.find(state.digest), null, 'it revokes no session')
})

t.test('listStale returns pages, the most recent first', async (t) => {
  const states = await Promise.all(Array.from({ length: 7 }, createState))
  for (const [index, state] of states.entries()) {
    await revocations.token(state.digest, 'logout')
    await pool.query('update auth_tokens set stale_at = now() - interval \'40 seconds\' + $2 * interval \'1 second\' where id = $1', [state.sessionId, Math.floor(index / 2)])
  }
  const digests = new Set(states.map(({ digest }) => digest))
  const { revoked } = await listed(2)
  const ours = revoked.filter((digest) => digests.has(digest))
  t.same(ours.length, 7, 'each is listed once')
  t.same(new Set(ours), digests, 'including ties')
  t.equal(ours[0], states[6]!.digest)
})

t.test('listStale misses no token that is dated again between two pages', async (t) => {
  const states = await Promise.all(Array.from({ length: 4 }, createState))
  for (const [index, state] of states.entries()) {
    await revocations.token(state.digest, 'logout')
    await pool.query('update auth_tokens set stale_at = now() - $2 * interval \'1 minute\' where id = $1', [state.sessionId, 1 + index])
  }
  const pages = reader.listStale(2)
  const found = [...(await pages.next() as { value: StalePage }).value.revoked]
  for (const { id } of states) await revocations.refresh(id)
  for await (const { revoked } of pages) found.push(...revoked)
  t.same(states.filter(({ digest }) => !found.includes(digest)), [])
})

t.test('pruning keeps revoked tokens that a cache may still accept, however short the retention', async (t) => {
  const [kept, over] = [await createState(), await createState()]
  for (const state of [kept, over]) await revocations.token(state.digest, 'logout')
  await age(kept, 5)
  await age(over, 6)
  await reader.prune(0, 1000)
  const { rows } = await pool.query('select id from auth_tokens where id = any($1)', [[kept.sessionId, over.sessionId]])
  t.same(rows, [{ id: kept.sessionId }])
})

t.test('a logout at a server with a short cache TTL also invalidates entries of servers with a longer one', async (t) => {
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
  const isCached = async () => await status() === 200 && (await redis.keys(`${namespace}t:*`)).length === 1
  await until(isCached, 'the entry is filled')
  // As after a logout that did not reach the cache, and whose client retries half an hour later.
  const { pool } = countingPool(t, database.url)
  await pool.query('update auth_tokens set revoked_at = now() - interval \'30 minutes\', stale_at = now() - interval \'30 minutes\', revoke_reason = \'logout\'')
  t.equal(await status(), 200)
  t.equal((await caller(hasty)('POST', '/auth/logout', { token })).statusCode, 204)
  t.equal(await status(), 401)
})
