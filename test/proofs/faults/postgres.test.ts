import pg from 'pg'
import t from 'tap'
import { createPostgresServer, noPostgres } from '../../helpers/postgres-server.js'
import type { PostgresServer } from '../../helpers/postgres-server.js'
import { testConflicts } from './conflicts.js'
import { runRow } from './row.js'
import type { Row } from './row.js'
import { createWorld, read } from './world.js'
import type { Cast, World } from './world.js'
import { until } from '../../helpers/until.js'

const WELL = { cached: '200', uncached: '200', login: '200', logout: '204', revoked: '401 INVALID_TOKEN' }
const UNAVAILABLE = '503 UNAVAILABLE'
/** Only requests that Redis can answer succeed. */
const AWAY = { ...WELL, uncached: UNAVAILABLE, login: UNAVAILABLE, logout: UNAVAILABLE }
/** Only reads succeed. */
const NO_WRITES = { ...WELL, login: UNAVAILABLE, logout: UNAVAILABLE }
const NOTHING = { cached: UNAVAILABLE, uncached: UNAVAILABLE, login: UNAVAILABLE, logout: UNAVAILABLE, revoked: UNAVAILABLE }

const nothing = () => {}

/** Connections and statements that bypass the servers. */
function createDatabaseAdmin ({ url }: PostgresServer) {
  async function connect (): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: url })
    client.on('error', nothing)
    await client.connect()
    return client
  }
  async function execute (...statements: string[]): Promise<void> {
    const client = await connect()
    for (const statement of statements) await client.query(statement).catch(async (error) => { await client.end(); throw error })
    await client.end()
  }
  return { connect, execute }
}

type DatabaseAdmin = ReturnType<typeof createDatabaseAdmin>

/** Runs `action` in the transaction of every new token and every revocation. */
const meet = async ({ execute }: DatabaseAdmin, action: string) => await execute(
  'create sequence fault_count',
  `create function fault() returns trigger language plpgsql as $$ begin ${action}; return new; end $$`,
  'create trigger fault before insert or update of revoked_at on auth_tokens for each row execute function fault()'
)
const forget = async ({ execute }: DatabaseAdmin) => await execute('drop trigger fault on auth_tokens', 'drop function fault', 'drop sequence fault_count')

function failing (name: string, admin: DatabaseAdmin, action: string, answers: Row['answers']): Row {
  return { name, inject: () => meet(admin, action), heal: () => forget(admin), answers }
}

/** SQL that fails with the SQLSTATE, every time or only the first time. */
const raise = (sqlstate: string) => `raise exception 'the test wants it' using errcode = '${sqlstate}'`
const raiseAtFirst = (sqlstate: string) => `if nextval('fault_count') = 1 then ${raise(sqlstate)}; end if`

function locks (connect: DatabaseAdmin['connect'], lock: (cast: Cast) => string): Pick<Row, 'inject' | 'heal'> {
  let client: pg.Client | null = null
  return {
    async inject (_world, cast) {
      client = await connect()
      await client.query('begin')
      await client.query(lock(cast))
    },
    heal: () => client?.end()
  }
}

function takesThePool (): Pick<Row, 'inject' | 'heal'> {
  let taken: pg.PoolClient[] = []
  return {
    async inject ({ pool }) { taken = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect())) },
    heal () { for (const client of taken) client.release() }
  }
}

async function becomeReadOnly ({ execute }: DatabaseAdmin, { pool }: World): Promise<void> {
  await execute('alter system set default_transaction_read_only = on', 'select pg_reload_conf()')
  await until(async () => {
    const clients = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()))
    const settings = await Promise.all(clients.map((client) => client.query('show default_transaction_read_only')))
    for (const client of clients) client.release()
    return settings.every(({ rows: [row] }) => row.default_transaction_read_only === 'on')
  }, 'every connection is read-only')
}

async function loseEveryConnection ({ execute }: DatabaseAdmin, { pool }: World): Promise<void> {
  const client = await pool.connect()
  client.release()
  const lost = new Promise<void>((resolve) => { client.once('end', resolve) })
  await execute('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = \'client backend\'')
  await lost
}

function rowsOf (postgres: PostgresServer, admin: DatabaseAdmin): Row[] {
  const { connect } = admin
  return [
    { name: 'stopped', inject: () => postgres.stop(), heal: () => postgres.start(), answers: AWAY },
    { name: 'crashed', inject: () => postgres.crash(), heal: () => postgres.start(), answers: AWAY },
    { name: 'frozen', inject: () => postgres.freeze(), heal: () => postgres.thaw(), isSilent: true, answers: AWAY },
    {
      name: 'half-open: connections stay open, and nothing arrives',
      inject: async ({ postgresWay }) => postgresWay.freeze(),
      heal: ({ postgresWay }) => postgresWay.pass(),
      isSilent: true,
      answers: AWAY
    },
    {
      name: 'reset in the middle of every reply',
      inject: async ({ postgresWay }) => postgresWay.cutReplies(3),
      heal: ({ postgresWay }) => postgresWay.pass(),
      answers: AWAY
    },
    { name: 'pool exhausted', ...takesThePool(), answers: AWAY },
    failing('backend terminated in the middle of a transaction', admin, 'perform pg_terminate_backend(pg_backend_pid())', NO_WRITES),
    {
      name: 'every backend terminated between requests',
      inject: (world) => loseEveryConnection(admin, world),
      heal: nothing,
      answers: { ...WELL, login: ['200', UNAVAILABLE], logout: ['204', UNAVAILABLE] }
    },
    {
      name: 'read-only',
      inject: (world) => becomeReadOnly(admin, world),
      heal: () => admin.execute('alter system reset default_transaction_read_only', 'select pg_reload_conf()'),
      answers: NO_WRITES
    },
    failing('disk full', admin, raise('53100'), NO_WRITES),
    failing('a serialization failure, which is retried', admin, raiseAtFirst('40001'), WELL),
    failing('endless serialization failures', admin, raise('40001'), NO_WRITES),
    failing('a deadlock, which is retried', admin, raiseAtFirst('40P01'), WELL),
    failing('endless deadlocks', admin, raise('40P01'), NO_WRITES),
    {
      name: 'the user\'s row is locked',
      ...locks(connect, ({ id }) => `select 1 from users where id = '${id}' for update`),
      answers: { ...WELL, login: UNAVAILABLE }
    },
    {
      name: 'stopped, and Redis too',
      inject: async ({ redis }) => { await Promise.all([redis.kill(), postgres.stop()]) },
      heal: async ({ redis }) => { await Promise.all([redis.start(), postgres.start()]) },
      answers: NOTHING
    },
    {
      name: 'frozen, and Redis too',
      inject: async ({ redis }) => { redis.freeze(); await postgres.freeze() },
      heal: async ({ redis }) => { redis.thaw(); await postgres.thaw() },
      isSilent: true,
      answers: NOTHING
    },
    ...[-10, 10].map((minutes): Row => ({
      name: `healthy, and the clock of a server is 10 minutes ${minutes < 0 ? 'behind' : 'ahead'}`,
      inject: (world, _cast, t) => world.boot(t, { now: () => Date.now() + minutes * 60_000 }),
      heal: nothing,
      answers: WELL
    }))
  ]
}

t.test('PostgreSQL', { skip: noPostgres }, async (t) => {
  const postgres = await createPostgresServer(t)
  await postgres.start()
  const admin = createDatabaseAdmin(postgres)
  const world = await createWorld(t, postgres.url)
  for (const row of rowsOf(postgres, admin)) await t.test(row.name, (t) => runRow(t, world, row))

  const superuser = await admin.connect()
  await testConflicts(t, world, superuser).finally(() => superuser.end())

  await t.test('on a server whose clock is behind, a token expires by the clock of the database', async (t) => {
    const behind = await world.boot(t, { now: () => Date.now() - 10 * 60_000 })
    const { id } = await behind.tokenAuth.createUser({ username: 'short-lived', password: 'correct horse battery' })
    // Issues tokens until one is read before it expires, however slow the machine is.
    let token: string
    await until(async () => {
      token = (await behind.tokenAuth.issueToken(id, { ttl: '2s' })).token
      return await read(behind, token) === '200'
    }, 'a token is live')
    const client = await admin.connect()
    const isOver = async () => {
      const { rows } = await client.query('select now() > max(expires_at) + interval \'100 ms\' as over from auth_tokens where user_id = $1', [id])
      return rows[0].over
    }
    await until(isOver, 'the token has expired').finally(() => client.end())
    t.equal(await read(behind, token!), '401 INVALID_TOKEN')
  })
})
