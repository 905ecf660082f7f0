import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { recaptcha } from '../captcha/recaptcha.js'
import { COMMAND_FAILED, MISSING_TABLES } from '../errors.js'
import { oneOf } from '../options/rules.js'
import { createDemoUser, toBanner } from './banner.js'
import type { DemoUser } from './banner.js'
import { defineCommand } from './command.js'
import type { FlagValues } from './command.js'
import { host, labelOfRedis, port, readRedisUrl, readServeEnvironment } from './environment.js'
import { print, untilSignal } from './io.js'
import type { Environment, Io } from './io.js'
import { DATA_FLAG, withDatabase } from './open-database.js'
import type { CliDatabase } from './open-database.js'

const FLAGS = {
  memory: { type: 'boolean', about: 'keep the embedded database in memory' },
  ...DATA_FLAG,
  'no-demo': { type: 'boolean', about: 'create no user for trying the API; none is created if NODE_ENV is production either' },
  port: { type: 'string', value: '<port>', about: 'overrides PORT (default 3000, 0 for any free port)' },
  host: { type: 'string', value: '<host>', about: 'overrides HOST (default 127.0.0.1, reachable from this machine only)' },
  'log-level': { type: 'string', value: '<level>', about: 'trace, debug, info, warn, error, fatal or silent (default warn)' }
} as const

const GRACE_MS = 5000

const readLevel = oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent')

type Values = FlagValues<typeof FLAGS>
type Settings = ReturnType<typeof readSettings>

/** `serve`. */
export const serve = defineCommand({
  name: 'serve',
  summary: 'start a server with the API, and its docs at /docs',
  details: ['Migrates the database first. Without DATABASE_URL it uses an embedded database, without REDIS_URL a cache in the process.'],
  flags: FLAGS,
  async run (io, values) {
    const settings = readSettings(io.env, values)
    const { signalled, forget } = untilSignal(io)
    try {
      await withDatabase(io.env, values, (database) => serveUntil(signalled, io, settings, database), (line) => print(io.stdout, line))
      return 0
    } finally {
      forget()
    }
  }
})

function readSettings (env: Environment, values: Values) {
  const settings = readServeEnvironment(env)
  return {
    ...settings,
    port: values.port === undefined ? settings.port : port(values.port, '--port'),
    host: values.host === undefined ? settings.host : host(values.host, '--host'),
    logLevel: readLevel(values['log-level'] ?? 'warn', '--log-level'),
    redisUrl: readRedisUrl(env),
    wantsDemo: values['no-demo'] !== true && env['NODE_ENV'] !== 'production'
  }
}

async function serveUntil (signalled: Promise<void>, io: Io, settings: Settings, database: CliDatabase): Promise<void> {
  if (settings.trustProxy === true) print(io.stderr, 'TRUST_PROXY=true: every client can claim any address and so evade the login limit; list your proxies instead')
  const app = await open(io, settings, database)
  try {
    await app.listen({ port: settings.port, host: settings.host })
    // A signal must work even if the database hangs meanwhile.
    await Promise.race([signalled, introduce(app, io, settings, database)])
    await signalled
  } finally {
    await closeWithin(app, GRACE_MS)
  }
}

// After it listens: if it could not listen, nobody would see the password of the demo user.
async function introduce (app: FastifyInstance, io: Io, settings: Settings, database: CliDatabase): Promise<void> {
  const demo = settings.wantsDemo ? await createDemoUser(database.db, app.tokenAuth) : null
  print(io.stdout, ...await toLines(app, settings, database, demo))
}

// Requests in flight are answered. Idle connections and those with an unfinished request are closed after the grace period.
async function closeWithin (app: FastifyInstance, graceMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), graceMs)
  await app.close().finally(() => clearTimeout(timer))
}

async function open ({ stdout }: Io, { redisUrl, recaptchaKey, tokenTtlMs, trustProxy, logLevel }: Settings, { db }: CliDatabase): Promise<FastifyInstance> {
  const { createServer } = await import('./server.js')
  return await createServer({
    auth: {
      database: db,
      autoMigrate: true,
      token: { ttl: tokenTtlMs },
      ...(redisUrl === null ? {} : { redis: { url: redisUrl } }),
      ...(recaptchaKey === null ? {} : { captcha: recaptcha({ secret: recaptchaKey }) })
    },
    trustProxy,
    logLevel,
    // Log lines are JSON, in which an escaped character has the same meaning.
    logs: { write: (line) => print(stdout, line.trimEnd()) }
  }).catch(explainTables)
}

// What the plugin advises are options of the plugin.
function explainTables (error: Error): never {
  if (!(error instanceof MISSING_TABLES)) throw error
  throw new COMMAND_FAILED(`${error.message}. serve has none of these options: it needs a database of its own, in which its role may create tables`)
}

async function toLines (app: FastifyInstance, { redisUrl, recaptchaKey, wantsDemo }: Settings, { label, isEmbedded }: CliDatabase, demo: DemoUser | null): Promise<string[]> {
  const { cache } = await app.tokenAuth.health()
  const hint = `There are users already. To set the password of one, ${isEmbedded ? 'stop this server and ' : ''}run: npx fastify-token-auth set-password <username>`
  const own = isEmbedded ? 'in this process' : 'in this process, for one process only: set REDIS_URL to run several'
  return toBanner({
    address: app.server.address() as AddressInfo,
    database: label,
    cache: redisUrl === null ? own : `${labelOfRedis(redisUrl)}, ${cache}`,
    demo,
    hint: wantsDemo && demo === null ? hint : null,
    needsCaptcha: recaptchaKey !== null
  })
}
