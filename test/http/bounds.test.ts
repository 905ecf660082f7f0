import { randomBytes } from 'node:crypto'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import { PreparedClient } from '../../lib/index.js'
import { singleFlight } from '../../lib/tools/single-flight.js'
import { createTokenFormat } from '../../lib/crypto/token.js'
import { caller, createApp, createUser, login, PASSWORD, testOptions } from '../helpers/app.js'
import { createDatabase } from '../helpers/services.js'
import { until } from '../helpers/until.js'
import { openPool } from '../helpers/pools.js'

const database = await createDatabase()
t.teardown(database.drop)
const { create: forge } = createTokenFormat({ prefix: 'fta', randomBytes })

const GATE = 4711
const LOOKUPS = 5
const LOGINS = 3
const QUEUE = 2
const FLOOD = 60

interface World {
  app: FastifyInstance
  /** From now on, statements whose text matches block in PostgreSQL. */
  shut (texts: RegExp): Promise<void>
  open (): Promise<void>
  /** The number of blocked statements. */
  standing (): Promise<number>
}

async function createWorld (t: Test): Promise<World> {
  let held: RegExp | null = null
  class GatedClient extends PreparedClient {
    override query (...args: any[]): any {
      if (held === null || !held.test(String(args[0]))) return super.query(...args)
      return super.query(`select pg_advisory_xact_lock_shared(${GATE})`).then(() => super.query(...args))
    }
  }
  const keeper = new pg.Client({ connectionString: database.url })
  await keeper.connect()
  const pool = openPool(t, { connectionString: database.url, max: 10, Client: GatedClient })
  const app = await createApp(t, testOptions(database.url, { database: pool, lookup: { queue: QUEUE, maxWait: '1m', timeout: '1m' } }))
  const open = async () => { held = null; await keeper.query('select pg_advisory_unlock_all()') }
  t.teardown(async () => { await open(); await keeper.end() })
  return {
    app,
    open,
    async shut (texts) { await keeper.query(`select pg_advisory_lock(${GATE})`); held = texts },
    async standing () {
      const { rows } = await keeper.query("select 1 from pg_stat_activity where datname = current_database() and wait_event = 'advisory'")
      return rows.length
    }
  }
}

const codeOf = ({ statusCode, body }: LightMyRequestResponse) => statusCode === 204 ? '204' : `${statusCode} ${String(JSON.parse(body).code).replace('FST_TOKEN_AUTH_', '')}`

/** Sends all requests at once; resolves when all places are taken and the other requests have been refused with Retry-After. */
async function flood (t: Test, { standing }: World, places: number, ask: () => Promise<LightMyRequestResponse>): Promise<{ all: Promise<LightMyRequestResponse[]> }> {
  const early: LightMyRequestResponse[] = []
  const all = Promise.all(Array.from({ length: FLOOD }, async () => {
    const reply = await ask()
    early.push(reply)
    return reply
  }))
  await until(() => early.length >= FLOOD - places - QUEUE, 'the excess is refused')
  await until(async () => await standing() === places, 'every place is taken')
  t.same([...new Set(early.map(codeOf))], ['503 OVERLOADED'])
  t.ok(early.every(({ headers }) => /^[1-9]\d*$/.test(String(headers['retry-after']))))
  return { all }
}

const STRANGERS: Record<string, [url: string, texts: RegExp]> = {
  'forged logouts': ['/auth/logout', /^with held as \(/],
  'forged logout-all requests, in the lookup of the token': ['/auth/logout-all', /^\/\*fta_/],
  'forged logout-all requests, in the check for a retry': ['/auth/logout-all', /^with held as \(/]
}

for (const [name, [url, texts]] of Object.entries(STRANGERS)) {
  t.test(`${name} use at most half of the connections, so that logins and live tokens are served`, async (t) => {
    const world = await createWorld(t)
    const { app, shut, open } = world
    const call = caller(app)
    const { username } = await createUser(app)
    const token = await login(app, username)
    t.equal((await call('GET', '/auth/me', { token })).statusCode, 200)
    await shut(texts)
    const { all } = await flood(t, world, LOOKUPS, async () => await call('POST', url, { token: forge() }))
    for (let times = 0; times < 3; times++) {
      t.ok(await login(app, username))
      t.equal((await call('GET', '/auth/me', { token })).statusCode, 200)
      t.equal((await call('GET', '/auth/sessions', { token })).statusCode, 200)
    }
    t.match(await call('POST', '/auth/login', { body: { username, password: 'wrong password' } }), { statusCode: 401 })
    t.equal((await app.tokenAuth.health()).database, 'up')
    await open()
    t.same([...new Set((await all).map(codeOf))].sort(), ['401 INVALID_TOKEN', '503 OVERLOADED'], 'never 401 because of overload')
    t.equal(codeOf(await call('POST', '/auth/logout', { token })), '204')
  })
}

t.test('logins before verification use at most a quarter of the connections, so that other requests are served', async (t) => {
  const world = await createWorld(t)
  const { app, shut, open } = world
  const call = caller(app)
  const { id } = await createUser(app)
  const [{ token }, other] = [await app.tokenAuth.issueToken(id), await app.tokenAuth.issueToken(id)]
  await shut(/where username =/)
  let names = 0
  const { all } = await flood(t, world, LOGINS, async () => await call('POST', '/auth/login', { body: { username: `nobody${names++}`, password: PASSWORD } }))
  t.equal((await call('GET', '/auth/me', { token })).statusCode, 200)
  t.equal((await call('DELETE', `/auth/sessions/${other.sessionId}`, { token })).statusCode, 204)
  t.equal((await call('POST', '/auth/logout', { token })).statusCode, 204)
  await open()
  t.same([...new Set((await all).map(codeOf))].sort(), ['401 INVALID_CREDENTIALS', '503 OVERLOADED'])
})

t.test('concurrent health checks share one query', async (t) => {
  let asked = 0
  let answer = (_text: string) => {}
  const ask = singleFlight(async () => { asked++; return await new Promise<string>((resolve) => { answer = resolve }) })
  const both = [ask(), ask()]
  answer('up')
  t.same([await Promise.all(both), asked], [['up', 'up'], 1])
  const next = ask()
  answer('down')
  t.same([await next, asked], ['down', 2])
})
