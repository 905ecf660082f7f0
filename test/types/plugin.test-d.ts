import fastifyAuth from '@fastify/auth'
import Fastify from 'fastify'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { expectAssignable, expectError, expectNotAssignable, expectType } from 'tsd'
import authPlugin, { authPlugin as named, bcrypt, createPGlitePool, errors, migrations, PreparedClient, scanningPattern } from 'fastify-token-auth'
import * as all from 'fastify-token-auth'
import type { Migration, AuthEvents, LoginFailure, Authenticate, AuthPluginOptions, AuthSession, Hasher, Health, OpenApiParts, Session, TokenAuth, TokenGrant, UserId } from 'fastify-token-auth'
import type { EXPORTS } from './exports.js'

expectType<typeof EXPORTS[number]>({} as keyof typeof all)
expectType<FastifyPluginAsync<AuthPluginOptions>>(authPlugin)
expectType<typeof authPlugin>(named)

const app = Fastify()
const pool = new pg.Pool({ connectionString: 'postgres://', Client: PreparedClient })
const database = new Kysely<{ orders: { id: number } }>({ dialect: new PostgresDialect({ pool }) })

// The forms of the two handles, database and redis.
for (const handle of [database, pool, { connectionString: 'postgres://', max: 4 }]) expectAssignable<AuthPluginOptions>({ database: handle })
expectAssignable<AuthPluginOptions['database']>(new Kysely<any>({ dialect: new PostgresDialect({ pool: createPGlitePool({ query: async () => ({ rows: [] }), close: async () => {} }) }) }))
expectAssignable<AuthPluginOptions>({ database, redis: true })
expectAssignable<AuthPluginOptions>({ database, redis: new Redis() })
expectAssignable<AuthPluginOptions>({ database, redis: { url: 'redis://', keyPrefix: 'x' } })
// A class of another copy of ioredis, with private members of its own.
declare class OtherRedis {
  readonly status: 'wait' | 'ready'
  readonly options: { host?: string }
  duplicate (override?: { db?: number }): OtherRedis
  private readonly queue: unknown
}
expectAssignable<AuthPluginOptions>({ database, redis: new OtherRedis() })

// Every option at once.
expectAssignable<AuthPluginOptions>({
  database,
  redis: { url: 'redis://' },
  prefix: '/auth',
  realm: 'api',
  schemes: ['Bearer', 'Token'],
  token: { ttl: '30d', idleTtl: null, touchInterval: 60_000, prefix: 'fta', maxPerUser: 100, table: 'auth_tokens', schema: 'auth', retention: '7d' },
  cache: { ttl: '5m', namespace: 'fta:', max: 1000 },
  revocation: 'bounded',
  users: { table: 'members', schema: 'app', columns: { id: 'no', username: 'login', passwordHash: 'hash', active: null, lastLogin: null }, select: ['email'], activeWhen: 'deleted_at is null', idType: 'bigint' },
  lookup: { concurrency: 5, queue: 10, maxWait: '1s', timeout: '3s' },
  rateLimit: { max: 5, timeWindow: '1 minute' },
  hasher: bcrypt({ cost: 12 }),
  password: { minLength: 15, maxLength: 128 },
  start: 'degraded',
  autoMigrate: true,
  hooks: { onLogin: () => {}, onCacheError: async () => {} },
  now: Date.now,
  randomBytes: (size) => Buffer.alloc(size)
})
expectAssignable<AuthPluginOptions>({ database, rateLimit: false })

app.register(authPlugin, {
  database,
  hooks: {
    onLogin: (event) => { expectType<AuthEvents['login']>(event) },
    onLoginFailed: ({ reason, userId }) => {
      expectType<LoginFailure>(reason)
      expectType<UserId | null>(userId)
    },
    onCacheError: ({ error }) => { expectType<Error>(error) }
  }
})

// The compiler rejects invalid options too.
expectError(app.register(authPlugin, {}))
expectError(app.register(authPlugin))
expectError(app.register(authPlugin, { database: 'postgres://' }))
expectError(app.register(authPlugin, { database, redis: 'redis://' }))
expectError(app.register(authPlugin, { database, redis: false }))
expectError(app.register(authPlugin, { database, token: { ttl: null } }))
expectError(app.register(authPlugin, { database, token: { tll: '1d' } }))
expectError(app.register(authPlugin, { database, tokens: {} }))
expectError(app.register(authPlugin, { database, schemes: ['Basic'] }))
expectError(app.register(authPlugin, { database, revocation: 'lax' }))
expectError(app.register(authPlugin, { database, rateLimit: true }))
expectError(app.register(authPlugin, { database, users: { columns: { username: null } } }))
expectError(app.register(authPlugin, { database, hasher: { hash: async () => '' } }))
expectError(app.register(authPlugin, { database, hooks: { onLogon: () => {} } }))
expectNotAssignable<AuthPluginOptions>({ database, start: 'lazy' })

// The decorators.
expectType<Authenticate>(app.authenticate)
expectType<Authenticate>(app.authenticate.with({ optional: true, fresh: true, scopes: ['read'] }))
expectType<Authenticate>(app.authenticate.with({}).with({ fresh: true }))
expectError(app.authenticate.with({ scope: 'read' }))
expectError(app.authenticate.with({ scopes: 'read' }))
expectType<Promise<void>>(app.authenticate({} as FastifyRequest, {} as FastifyReply))
expectType<void>(app.authenticate({} as FastifyRequest, {} as FastifyReply, () => {}))
app.addHook('onRequest', app.authenticate)
for (const hook of ['onRequest', 'preValidation', 'preHandler'] as const) app.get(`/${hook}`, { [hook]: app.authenticate }, async () => '')
app.get('/several', { onRequest: [app.authenticate.with({ fresh: true }), app.authenticate] }, async () => '')
// For other hooks, Fastify infers the payload type from the hook itself.
expectError(app.addHook('preParsing', app.authenticate))
expectError(app.addHook('onError', app.authenticate))
expectError(app.addHook('onRequestAbort', app.authenticate))
expectError(app.get('/preParsing', { preParsing: app.authenticate }, async () => ''))
expectError(app.get('/preSerialization', { preSerialization: [app.authenticate] }, async () => ''))
expectError(app.get('/onSend', { onSend: app.authenticate }, async () => ''))
app.get('/async', { preHandler: async (request, reply) => { await app.authenticate(request, reply) } }, async () => '')
app.get('/callback', { preHandler: (request, reply, done) => { app.authenticate(request, reply, done) } }, async () => '')
app.register(fastifyAuth)
app.get('/auth', { onRequest: app.auth([app.authenticate]) }, async () => '')

app.get('/', async (request) => {
  expectType<AuthSession | null>(request.auth)
  expectType<[string, Date, readonly string[] | null] | undefined>(request.auth === null ? undefined : [request.auth.sessionId, request.auth.expiresAt, request.auth.scopes])
  expectError(request.auth?.token)
})

// fastify.tokenAuth.
const { tokenAuth } = app
expectType<TokenAuth>(tokenAuth)
expectType<Promise<void>>(tokenAuth.setPassword('id', 'password'))
expectType<Promise<void>>(tokenAuth.setActive(1, false))
expectType<Promise<boolean>>(tokenAuth.deleteUser(1))
expectType<Promise<TokenGrant>>(tokenAuth.issueToken('id', { ttl: '1d', label: 'CI', scopes: ['read'], ip: '::1', userAgent: 'curl' }))
expectType<Promise<boolean>>(tokenAuth.revokeToken('token'))
expectType<Promise<number>>(tokenAuth.revokeUser(1))
expectType<Promise<Session[]>>(tokenAuth.listSessions(1))
expectType<Promise<boolean>>(tokenAuth.refreshUser(1))
expectType<Promise<number>>(tokenAuth.pruneExpired({ batchSize: 10, onProgress: ({ deleted, done }) => { expectType<[number, boolean]>([deleted, done]) } }))
expectType<Promise<Health>>(tokenAuth.health())
expectType<OpenApiParts>(tokenAuth.openapi())
expectError(tokenAuth.createUser({ username: 'ada' }))
expectError(tokenAuth.issueToken('id', { ttl: null }))
expectError(tokenAuth.setActive(null, true))

// The other exports.
expectType<Hasher>(bcrypt())
expectError(bcrypt({ rounds: 12 }))
expectType<Record<string, Migration>>(migrations({ users: { table: 'members' }, token: { schema: 'auth' } }))
expectError(migrations({ database }))
expectType<string>(scanningPattern('fta'))
expectAssignable<Error & { statusCode?: number }>(new errors.INVALID_TOKEN())
