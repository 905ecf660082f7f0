import { INVALID_OPTION } from '../errors.js'
import { closestTo } from './spelling.js'

/** The settings of pg's clients and pools. */
const SETTINGS = new Set([
  'connectionString', 'host', 'port', 'database', 'user', 'password', 'ssl', 'sslnegotiation', 'enableChannelBinding', 'scramMaxIterations',
  'application_name', 'fallback_application_name', 'client_encoding', 'options', 'replication', 'statement_timeout', 'lock_timeout',
  'idle_in_transaction_session_timeout', 'query_timeout', 'connectionTimeoutMillis', 'keepAlive', 'keepAliveInitialDelayMillis',
  'types', 'binary', 'pipeline', 'stream', 'Client', 'Promise', 'log', 'onConnect', 'verify', 'max', 'min', 'poolSize',
  'idleTimeoutMillis', 'allowExitOnIdle', 'maxUses', 'maxLifetimeSeconds'
])

/** What other libraries call them. */
const ELSEWHERE: Record<string, string> = {
  username: 'user', db: 'database', dbname: 'database', pass: 'password', passwd: 'password', pwd: 'password', tls: 'ssl', sslmode: 'ssl', connectionlimit: 'max'
}
/** Settings that choose a driver or a schema. */
const NEEDLESS: Record<string, string> = {
  type: 'the database is PostgreSQL in any case',
  dialect: 'the database is PostgreSQL in any case',
  client: 'the database is PostgreSQL in any case',
  schema: 'the schemas are token.schema and users.schema'
}

/**
 * Refuses settings of a pool that pg does not have: it would ignore them, and connect without a password or as another user.
 * @throws `FST_TOKEN_AUTH_INVALID_OPTION`
 */
export function refuseUnknownSettings (config: object): void {
  const unknown = Object.keys(config).find((name) => !SETTINGS.has(name))
  if (unknown !== undefined) throw new INVALID_OPTION(`Unknown setting "database.${unknown}": ${adviceFor(unknown)}`)
}

function adviceFor (name: string): string {
  const needless = NEEDLESS[name]
  if (needless !== undefined) return `remove it, ${needless}`
  const meant = ELSEWHERE[name.toLowerCase()] ?? closestTo(name, SETTINGS)
  return meant === undefined ? 'pg has none of this name. If yours has, pass a pg.Pool' : `did you mean database.${meant}?`
}
