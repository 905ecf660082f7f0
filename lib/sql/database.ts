import { Kysely, PostgresDialect } from 'kysely'
import type { PostgresPool } from 'kysely'
import pg from 'pg'
import type { PoolConfig } from 'pg'
import type { DatabaseOption } from '../../types/options.js'
import type { Logger } from '../ports.js'
import { INVALID_OPTION } from '../errors.js'
import { isKysely, isPool } from '../options/handles.js'
import { unreadableUrl } from '../options/rules.js'
import { withoutUndefined } from '../tools/without-undefined.js'
import { codeOf, redactValues } from './errors.js'
import { ignore, listenOnce, PreparedClient, surviveLoss } from './prepared-client.js'
import { withoutSilence } from './silent-clients.js'
import { withoutRefusedLimits } from './startup-parameters.js'
import { trackClients } from './tracked-clients.js'
import { POOL_LISTENERS } from './unusable-clients.js'

export interface OpenDatabase {
  db: Kysely<any>
  /** Maximum number of connections; 10, the default of pg, for a Kysely, whose pool is not visible. */
  poolSize: number
  /** Makes a client for a connection beside the pool; `null` for a pool that is not of pg, or not visible. */
  openClient: (() => pg.Client) | null
  /** Closes what was opened here, and leaves handles of the application open. A connection that hangs is destroyed after the time. */
  close: (timeoutMs?: number) => Promise<void>
}

/** Time limits that the server enforces, so that a connection never goes back to the pool in an open transaction. */
const SAFE_POOL = {
  max: 10,
  connectionTimeoutMillis: 2000,
  statement_timeout: 5000,
  lock_timeout: 2000,
  idle_in_transaction_session_timeout: 10_000,
  keepAlive: true,
  keepAliveInitialDelayMillis: 10_000,
  application_name: 'fastify-token-auth'
} satisfies PoolConfig

const CLOSE_MS = 3000

export function openDatabase (option: DatabaseOption, logger: Logger): OpenDatabase {
  if (isKysely(option)) return { db: option.withoutPlugins(), poolSize: SAFE_POOL.max, openClient: null, close: async () => {} }
  if (isPool(option)) return { ...overPool(option), close: async () => {} }
  refuseQueryTimeout(option)
  const Client = withoutRefusedLimits(option.Client as typeof pg.Client | undefined ?? PreparedClient, () => {
    logger.info({}, 'the database refuses time limits as start-up parameters, as connection poolers do: connecting without them; see docs/production.md#pgbouncer')
  })
  const settings = { ...SAFE_POOL, ...withoutUndefined(option) }
  const clients = trackClients(withoutSilence(Client, Number(settings.statement_timeout)))
  const pool = new pg.Pool({ ...settings, Client: clients.Client })
  pool.on('error', (error) => logger.warn({ err: redactValues(error) }, 'an idle database connection broke'))
  const opened = overPool(pool)
  return { ...opened, close: (timeoutMs = CLOSE_MS) => clients.close(() => opened.db.destroy(), timeoutMs) }
}

function overPool (pool: pg.Pool | PostgresPool): Omit<OpenDatabase, 'close'> {
  const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
  return 'options' in pool ? { db, poolSize: prepare(pool), openClient: () => new (pool as PoolOfClients).Client(pool.options) } : { db, poolSize: 1, openClient: null }
}

/** The class of its clients is missing in the types of pg. */
type PoolOfClients = pg.Pool & { Client: typeof pg.Client }

// A compatible pool other than pg's has one connection and none of this.
function prepare (pool: pg.Pool): number {
  refuseQueryTimeout(pool.options)
  listenOnce(pool, 'acquire', surviveLoss)
  for (const [event, listener] of Object.entries(POOL_LISTENERS)) listenOnce(pool, event, listener)
  // The loss of an idle connection is an error of the pool, which drops the client and connects again when needed.
  listenOnce(pool, 'error', ignore)
  return pool.options.max
}

// With Kysely 0.28 a transaction that this client-side timeout interrupts goes back to the pool open:
// later writes on the connection report success and are never committed.
function refuseQueryTimeout (config: PoolConfig): void {
  if (!(Number(parametersOf(config).query_timeout) > 0)) return
  throw new INVALID_OPTION('database.query_timeout is unsafe with transactions: use statement_timeout, which the server enforces')
}

// As pg itself reads them: also from the connection string or pg.defaults. Later, a failure to read them would look like one to connect.
function parametersOf (config: PoolConfig): PoolConfig {
  try {
    return (new pg.Client(config) as unknown as { connectionParameters: PoolConfig }).connectionParameters
  } catch (error) {
    if (codeOf(error) === 'ERR_INVALID_URL' || error instanceof URIError) throw unreadableUrl('database.connectionString')
    throw new INVALID_OPTION(`database cannot be used by pg: ${(error as Error).message}`)
  }
}
