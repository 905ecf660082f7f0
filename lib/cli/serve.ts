import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { recaptcha } from '../captcha/recaptcha.js'
import { oneOf } from '../options/rules.js'
import { toBanner } from './banner.js'
import { defineCommand } from './command.js'
import type { FlagValues } from './command.js'
import { createDemoUser } from './demo-user.js'
import type { DemoUser } from './demo-user.js'
import { host, labelOfRedis, port, readRedisUrl, readServeEnvironment } from './environment.js'
import { print } from './io.js'
import type { Environment, Io } from './io.js'
import { DATA_FLAG, withDatabase } from './open-database.js'
import type { CliDatabase } from './open-database.js'
import { createServer } from './server.js'
import { untilSignal } from './shutdown.js'

const FLAGS = {
  memory: { type: 'boolean', about: 'keep the embedded database in memory' },
  ...DATA_FLAG,
  'no-demo': { type: 'boolean', about: 'make no user for trying it out; none is made either if NODE_ENV is production' },
  port: { type: 'string', value: '<port>', about: 'instead of PORT (default 3000, 0: any that is free)' },
  host: { type: 'string', value: '<host>', about: 'instead of HOST (default 127.0.0.1, this machine alone)' },
  'log-level': { type: 'string', value: '<level>', about: 'trace, debug, info, warn, error, fatal or silent (default warn)' }
} as const

const GRACE_MS = 5000

const readLevel = oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent')

type Values = FlagValues<typeof FLAGS>
type Settings = ReturnType<typeof readSettings>

/** `serve`. */
export const serve = defineCommand({
  name: 'serve',
  summary: 'serve the API, with its docs at /docs',
  details: ['Migrates the database by itself. Runs on an embedded database and a cache in the process until DATABASE_URL and REDIS_URL are set.'],
  flags: FLAGS,
  async run (io, values) {
    const settings = readSettings(io.env, values)
    const { signalled, forget } = untilSignal(io)
    try {
      await withDatabase(io.env, values, (database) => serveUntil(signalled, io, settings, database))
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
  if (settings.trustProxy === true) print(io.stderr, 'TRUST_PROXY=true: whoever connects is believed about its address, and so escapes the login limit; name your proxies instead')
  const app = await open(io, settings, database)
  try {
    await app.listen({ port: settings.port, host: settings.host })
    // A database that hangs meanwhile holds up no signal.
    await Promise.race([signalled, introduce(app, io, settings, database)])
    await signalled
  } finally {
    await closeWithin(app, GRACE_MS)
  }
}

// Not before it listens: the password of a server that does not would never be seen.
async function introduce (app: FastifyInstance, io: Io, settings: Settings, database: CliDatabase): Promise<void> {
  const demo = settings.wantsDemo ? await createDemoUser(database.db, app.tokenAuth) : null
  print(io.stdout, ...await toLines(app, settings, database, demo))
}

// Requests under way are answered; connections that only stand, or send no end of a request, are cut.
async function closeWithin (app: FastifyInstance, graceMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), graceMs)
  await app.close().finally(() => clearTimeout(timer))
}

async function open ({ stdout }: Io, { redisUrl, recaptchaKey, tokenTtlMs, trustProxy, logLevel }: Settings, { db }: CliDatabase): Promise<FastifyInstance> {
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
    // A log's line is JSON, in which an escaped character is the same text.
    logs: { write: (line) => print(stdout, line.trimEnd()) }
  })
}

async function toLines (app: FastifyInstance, { redisUrl, recaptchaKey }: Settings, { label, isEmbedded }: CliDatabase, demo: DemoUser | null): Promise<string[]> {
  const { cache } = await app.tokenAuth.health()
  const own = isEmbedded ? 'in this process' : 'in this process: right for one process only, set REDIS_URL for several'
  return toBanner({
    address: app.server.address() as AddressInfo,
    database: label,
    cache: redisUrl === null ? own : `${labelOfRedis(redisUrl)}, ${cache}`,
    demo,
    needsCaptcha: recaptchaKey !== null
  })
}
