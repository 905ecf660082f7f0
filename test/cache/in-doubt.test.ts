import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { AuthPluginOptions } from '../../lib/index.js'
import { digestOf } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { losingPool } from '../helpers/losing-pool.js'
import { deferred } from '../helpers/deferred.js'
import { createPostgresServer, noPostgres } from '../helpers/postgres-server.js'
import { createDatabase, uniqueNamespace } from '../helpers/services.js'
import { countingPool, openPool } from '../helpers/pools.js'
import { until } from '../helpers/until.js'
import { watchRedis } from '../helpers/watch-redis.js'

/** The single statement of a logout, which commits implicitly. */
const LOGOUT = /^with held as .* ended as \(/s
const COMMIT = /^commit/

interface Caller { app: FastifyInstance, id: string | number, username: string, token: string, sessionId: string }

/** Every way to revoke a token, with the statement that commits it. Each rejects or answers 503 if that answer is lost. */
const WAYS: Record<string, { commits: RegExp, end: (who: Caller) => Promise<unknown> }> = {
  logout: { commits: LOGOUT, end: ({ app, token }) => caller(app)('POST', '/auth/logout', { token }) },
  'session delete': { commits: LOGOUT, end: ({ app, token, sessionId }) => caller(app)('DELETE', `/auth/sessions/${sessionId}`, { token }) },
  revokeToken: { commits: LOGOUT, end: ({ app, token }) => app.tokenAuth.revokeToken(token) },
  'logout-all': { commits: COMMIT, end: ({ app, token }) => caller(app)('POST', '/auth/logout-all', { token }) },
  'change-password': {
    commits: COMMIT,
    end: ({ app, token }) => caller(app)('POST', '/auth/change-password', { token, body: { currentPassword: PASSWORD, newPassword: 'another horse battery' } })
  },
  setPassword: { commits: COMMIT, end: ({ app, id }) => app.tokenAuth.setPassword(id, 'another horse battery') },
  'setActive(false)': { commits: COMMIT, end: ({ app, id }) => app.tokenAuth.setActive(id, false) },
  deleteUser: { commits: COMMIT, end: ({ app, id }) => app.tokenAuth.deleteUser(id) },
  'a login that displaces': { commits: COMMIT, end: ({ app, username }) => caller(app)('POST', '/auth/login', { body: { username, password: PASSWORD } }) }
}

const status = async (app: FastifyInstance, token: string) => (await caller(app)('GET', '/protected', { token })).statusCode

/** A server over `pool`, which revokes the tokens, and another server. */
async function createPair (t: Test, pool: AuthPluginOptions['database'], databaseUrl: string, more: Partial<AuthPluginOptions> = {}) {
  const namespace = uniqueNamespace()
  const { redis } = await watchRedis(t, namespace)
  const options = testOptions(databaseUrl, { cache: { namespace }, accountLimit: false })
  const other = await createApp(t, options)
  const app = await createApp(t, { ...options, database: pool, ...more })
  const isCached = async (token: string) => (await redis.get(`${namespace}t:${digestOf(token)}`))?.[0] === 'V'
  async function cached (username: string): Promise<string> {
    const token = await login(other, username)
    await until(async () => await status(other, token) === 200 && await isCached(token), 'the token is cached')
    return token
  }
  return { app, other, cached }
}

t.test('a revocation whose answer is lost is detected, and every server refuses the token without a retry by the client', async (t) => {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  for (const [name, { commits, end }] of Object.entries(WAYS)) {
    await t.test(name, async (t) => {
      const { pool, loseAnswerOf } = losingPool(t, url)
      const { app, other, cached } = await createPair(t, pool, url, { token: { maxPerUser: name.startsWith('a login') ? 1 : 100 } })
      const { id, username } = await createUser(other)
      const token = await cached(username)
      const { session } = (await caller(other)('GET', '/auth/me', { token })).json()
      loseAnswerOf(commits)
      const answer = await end({ app, id, username, token, sessionId: session.id }).catch((error) => error)
      t.equal((answer as { statusCode: number }).statusCode, 503)
      await until(async () => await status(other, token) === 401, 'the other server refuses it')
      t.equal(await status(app, token), 401)
    })
  }
})

t.test('a revocation whose answer never comes, on a connection that stays open, is detected at its deadline', async (t) => {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  for (const name of ['logout', 'logout-all']) {
    await t.test(name, async (t) => {
      const { commits, end } = WAYS[name]!
      const pool = openPool(t, { connectionString: url })
      const silence = deferred<undefined>()
      let isSilent = false
      pool.on('connect', (client: any) => {
        const { query } = client
        client.query = (statement: any, ...more: unknown[]) => {
          const answer = query.call(client, statement, ...more)
          if (!isSilent || !commits.test(String(statement?.text ?? statement).trim())) return answer
          isSilent = false
          return answer.then(async (result: unknown) => { await silence.promise; return result })
        }
      })
      const { app, other, cached } = await createPair(t, pool, url, { lookup: { timeout: '3s', maxWait: '30s' } })
      const { id, username } = await createUser(other)
      const token = await cached(username)
      isSilent = true
      const answer = await end({ app, id, username, token, sessionId: '' }) as { statusCode: number }
      t.equal(answer.statusCode, 503)
      t.equal(isSilent, false)
      await until(async () => await status(other, token) === 401, 'the other server refuses it')
      silence.resolve(undefined)
      await until(() => pool.idleCount === pool.totalCount, 'the connection is given back')
    })
  }
})

t.test('while a revocation is in doubt, its token is looked up in the database and other tokens are not', async (t) => {
  const { url, drop } = await createDatabase()
  t.teardown(drop)
  const { pool, statements } = countingPool(t, url, { max: 4 })
  const { app, other, cached } = await createPair(t, pool, url, { lookup: { timeout: 1000 } })
  const lookups = () => statements.filter((text) => text.startsWith('/*fta_')).length
  const another = await cached((await createUser(other)).username)
  const ends: Record<string, (who: { id: string | number, token: string }) => Promise<unknown>> = {
    'of one token': ({ token }) => caller(app)('POST', '/auth/logout', { token }),
    'of all tokens of a user': ({ id }) => app.tokenAuth.revokeUser(id).catch((error) => error)
  }

  for (const [name, end] of Object.entries(ends)) {
    await t.test(name, async (t) => {
      const { id, username } = await createUser(other)
      const token = await cached(username)
      const holder = await openPool(t, { connectionString: url }).connect()
      await holder.query('begin')
      await holder.query('select 1 from auth_tokens where user_id = $1 for update', [id])
      t.match(await end({ id, token }), { statusCode: 503 })
      statements.length = 0
      t.equal(await status(app, another), 200)
      t.equal(lookups(), 0)
      await until(async () => await status(app, token) === 200, 'it is not revoked yet')
      t.not(lookups(), 0)
      await holder.query('commit')
      holder.release()
      await until(async () => await status(other, token) === 401, 'the late revocation applies on all servers')
    })
  }
})

t.test('a commit that hangs is tracked until it completes', { skip: noPostgres }, async (t) => {
  const postgres = await createPostgresServer(t)
  await postgres.start()
  const admin = openPool(t, { connectionString: postgres.url })
  const { app, other, cached } = await createPair(t, { connectionString: postgres.url }, postgres.url, { lookup: { timeout: 1000 } })
  const { username } = await createUser(other)
  const token = await cached(username)
  const setStandby = async (name: string) => {
    await admin.query(`alter system set synchronous_standby_names = '${name}'`)
    await admin.query('select pg_reload_conf()')
  }
  const hanging = async () => (await admin.query('select count(*)::int as count from pg_stat_activity where wait_event = \'SyncRep\'')).rows[0].count

  await setStandby('nobody')
  // An open connection applies the new setting at some later time; a new connection has it at once.
  await postgres.stop()
  await postgres.start()
  await until(async () => (await app.tokenAuth.health()).database === 'up' && (await other.tokenAuth.health()).database === 'up', 'the servers are connected again')
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 503)
  await until(async () => await hanging() > 0, 'the commit waits for a standby')
  t.equal(await status(other, token), 200, 'no transaction has revoked it yet')
  await setStandby('')
  await until(async () => await hanging() === 0 && await status(other, token) === 401, 'the commit is complete and applies on all servers')
  t.equal((await caller(app)('POST', '/auth/logout', { token })).statusCode, 204)
})
