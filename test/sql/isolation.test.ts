import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../lib/index.js'
import { createRetry } from '../../lib/sql/retry.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createHolder } from '../helpers/locks.js'
import type { Holder } from '../helpers/locks.js'
import { createDatabase, query } from '../helpers/services.js'
import { openKysely } from '../helpers/pools.js'

const NEW_PASSWORD = 'another password'

interface World extends Holder {
  url: string
  /** Stores no last login, so that a login only locks the user's row. */
  app: FastifyInstance
  /** Stores the last login, so that a login updates the user's row. */
  saving: FastifyInstance
  boot (t: Test, options?: Partial<AuthPluginOptions>): Promise<FastifyInstance>
}

/** Servers with long time limits, so that the holder's locks decide the order and no timeout does. */
async function createWorld (t: Test, isolation: string): Promise<World> {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const name = new URL(url).pathname.slice(1)
  await query('create table users (id serial primary key, username text not null unique, password_hash text, active boolean not null default true, last_login timestamptz)', url)
  await query(`alter database ${name} set default_transaction_isolation = '${isolation}'`, url)
  const database = { connectionString: url, connectionTimeoutMillis: 60_000, lock_timeout: 60_000, statement_timeout: 60_000 }
  const patient = { database, lookup: { timeout: '20s', maxWait: '1m' }, hashing: { maxWait: '1m' }, accountLimit: false as const }
  const boot = async (t: Test, options: Partial<AuthPluginOptions> = {}) => await createApp(t, testOptions(url, { ...patient, users: { columns: { lastLogin: null } }, ...options }))
  const [app, saving] = [await boot(t), await boot(t, { users: { table: 'users' } })]
  return { url, app, saving, boot, ...await createHolder(t, url) }
}

const logIn = async (app: FastifyInstance, username: string) => await caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } })

async function liveSessions ({ query }: World, userId: unknown): Promise<number> {
  const { rows } = await query('select id from auth_tokens where user_id = $1 and revoked_at is null', [userId])
  return rows.length
}

interface Race {
  /** Has locked the user's row and is about to write its token when `end` begins. */
  issue: (app: FastifyInstance, user: { id: any, username: string }) => Promise<unknown>
  end: (app: FastifyInstance, user: { id: any, username: string }, token: string) => Promise<unknown>
  /** How many sessions are live when both have returned. */
  live: number
}

const RACES: Record<string, Race> = {
  'a login beside a change of password': {
    issue: (app, { username }) => logIn(app, username),
    end: (app, _user, token) => caller(app)('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: NEW_PASSWORD } }),
    live: 1
  },
  'a login beside setPassword': { issue: (app, { username }) => logIn(app, username), end: (app, { id }) => app.tokenAuth.setPassword(id, NEW_PASSWORD), live: 0 },
  'issueToken beside setActive(false)': { issue: (app, { id }) => app.tokenAuth.issueToken(id), end: (app, { id }) => app.tokenAuth.setActive(id, false), live: 0 },
  'issueToken beside deleteUser': { issue: (app, { id }) => app.tokenAuth.issueToken(id), end: (app, { id }) => app.tokenAuth.deleteUser(id), live: 0 },
  'a login beside setActive(false)': { issue: (app, { username }) => logIn(app, username), end: (app, { id }) => app.tokenAuth.setActive(id, false), live: 0 }
}

for (const isolation of ['read committed', 'repeatable read', 'serializable']) {
  t.test(`in a database whose default is ${isolation}`, async (t) => {
    const world = await createWorld(t, isolation)
    const { app, saving, boot, hold, letGo, untilWaiting, query: ask } = world

    for (const [name, { issue, end, live }] of Object.entries(RACES)) {
      for (const [server, about] of [[app, ''], [saving, ', with a last login']] as const) {
        await t.test(`${name}${about}: the token that was issued first is revoked`, async (t) => {
          const user = await createUser(server)
          const token = await login(server, user.username)
          await hold('lock table auth_tokens in share mode')
          const issued = issue(server, user)
          await untilWaiting(1)
          const ended = end(server, user, token)
          await untilWaiting(2)
          await letGo()
          await Promise.all([issued, ended])
          t.equal(await liveSessions(world, user.id), live)
          t.equal((await ask('select id from auth_tokens where revoked_at is not null and (user_id = $1 or user_id is null)', [user.id])).rows.length >= 2, true, 'it was issued')
        })
      }
    }

    await t.test('two concurrent logins leave one live session if maxPerUser is 1', async (t) => {
      const crowded = await boot(t, { token: { maxPerUser: 1 } })
      const { id, username } = await createUser(crowded)
      await hold('lock table auth_tokens in share mode')
      const first = logIn(crowded, username)
      await untilWaiting(1)
      const second = logIn(crowded, username)
      await untilWaiting(2)
      await letGo()
      t.same([(await first).statusCode, (await second).statusCode], [200, 200])
      t.equal(await liveSessions(world, id), 1)
    })

    await t.test('concurrent logins of one account with the right password are all answered 200', async (t) => {
      for (const server of [app, saving]) {
        const { id, username } = await createUser(server)
        const replies = await Promise.all(Array.from({ length: 36 }, async () => await logIn(server, username)))
        t.same(replies.filter(({ statusCode }) => statusCode !== 200).map(({ body }) => body), [])
        t.equal(await liveSessions(world, id), 36)
      }
    })

    await t.test('concurrent logouts with one token are all answered 204', async (t) => {
      const { username } = await createUser(app)
      const token = await login(app, username)
      const replies = await Promise.all(Array.from({ length: 20 }, async () => await caller(app)('POST', '/auth/logout', { token })))
      t.same(replies.map(({ statusCode }) => statusCode), replies.map(() => 204))
    })

    await t.test('a statement that waits for a row which another transaction changes succeeds', async (t) => {
      const { id, username } = await createUser(app)
      const [mine, other] = [await login(app, username), await login(app, username)]
      const { sessionId } = await app.tokenAuth.issueToken(id)
      const bytes = digestOf(mine)
      const statements: Record<string, () => Promise<unknown>> = {
        logout: async () => (await caller(app)('POST', '/auth/logout', { token: mine })).statusCode,
        'the deletion of a session': async () => (await caller(app)('DELETE', `/auth/sessions/${sessionId}`, { token: other })).statusCode
      }
      for (const [name, run] of Object.entries(statements)) {
        await hold(`update auth_tokens set label = 'held' where user_id = ${id}`)
        const done = run()
        await untilWaiting(1)
        await letGo()
        t.equal(await done, 204, name)
      }
      t.equal((await ask("select revoke_reason from auth_tokens where digest = decode($1, 'base64')", [Buffer.from(bytes, 'base64url').toString('base64')])).rows[0].revoke_reason, 'logout')
    })

    await t.test('a statement that fails with serialization errors is retried until it succeeds', async (t) => {
      const { username } = await createUser(app)
      const token = await login(app, username)
      await ask('create sequence met')
      await ask(`create function meet() returns trigger language plpgsql as
        $$ begin if nextval('met') < 5 then raise exception 'the test wants it' using errcode = '40001'; end if; return new; end $$`)
      await ask('create trigger meet before update of revoked_at on auth_tokens for each row execute function meet()')
      t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
      t.equal((await ask('select last_value::int from met')).rows[0].last_value, 5)
      await ask('drop trigger meet on auth_tokens')
    })
  })
}

t.test('a statement that always fails with a serialization error is retried five times, or until the time limit', async (t) => {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const db = openKysely(t, url)
  await query("create function fail() returns int language plpgsql as $$ begin raise exception 'the test wants it' using errcode = '40001'; end $$", url)
  const pauses: number[] = []
  let at = 0
  const pause = async (ms: number) => { pauses.push(ms); at += ms }
  const fail = async (timeoutMs: number) => {
    pauses.length = at = 0
    const retry = createRetry({ timeoutMs, connections: 1, pause, jitter: () => 0.5, monotonicNow: () => at })
    await t.rejects(retry(() => db.selectNoFrom((eb) => eb.fn('fail').as('failed')).execute(), false), { code: '40001' })
    return [...pauses]
  }
  t.same(await fail(1000), [3.75, 7.5, 15, 30, 60])
  t.same(await fail(10), [3.75, 7.5])
})
