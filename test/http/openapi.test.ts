import swagger from '@fastify/swagger'
import { Ajv2020 } from 'ajv/dist/2020.js'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authenticate, authPlugin } from '../../lib/index.js'
import type { AuthPluginOptions } from '../../lib/index.js'
import { testOptions } from '../helpers/app.js'
import { createDatabase, query } from '../helpers/services.js'
import { logTo } from '../helpers/start.js'

const database = await createDatabase()
t.teardown(database.drop)

type Routes = (app: FastifyInstance) => void

/** The OpenAPI document of a host with the plugin. */
async function documentOf (t: Test, options: Partial<AuthPluginOptions>, routes: Routes = () => {}, mode: object = { openapi: { openapi: '3.1.0' } }): Promise<any> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, mode)
  await app.register(authPlugin, testOptions(database.url, options))
  routes(app)
  await app.ready()
  return app.swagger()
}

const OTHER = { openapi: { openapi: '3.1.0', components: { securitySchemes: { other: { type: 'http', scheme: 'basic' } } } } }

const operationsOf = ({ paths }: any): any[] => Object.values<object>(paths).flatMap((path) => Object.values(path))

/** Every reference of the document. */
function referencesIn (value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => key === '$ref' ? [String(inner)] : referencesIn(inner))
}

function isDefined (document: any, reference: string): boolean {
  return reference.slice(2).split('/').reduce((place, name) => place?.[name], document) !== undefined
}

t.test('errors, users, sessions and grants are named schemas, in each kind of document', async (t) => {
  for (const mode of [{ openapi: { openapi: '3.0.3' } }, { openapi: { openapi: '3.1.0' } }, { swagger: {} }]) {
    const document = await documentOf(t, {}, () => {}, mode)
    const schemas = document.components?.schemas ?? document.definitions
    t.same(Object.keys(schemas).sort(), ['TokenAuthError', 'TokenAuthGrant', 'TokenAuthSession', 'TokenAuthUser'])
    const references = referencesIn(document)
    t.ok(references.length > 40)
    t.same(references.filter((reference) => !isDefined(document, reference)), [])
    const { 401: refused, 429: limited } = document.paths['/auth/login'].post.responses
    t.match(refused, { description: 'Missing or invalid token, or wrong credentials', headers: { 'WWW-Authenticate': {} } })
    t.match(limited, { description: 'Too many attempts', headers: { 'Retry-After': {} } })
  }
})

t.test('a user has the selected columns with their types', async (t) => {
  await query(`create domain big as bigint; create table kinds (id int primary key, username text, password_hash text, active boolean not null,
    n int not null, ratio float8 not null, big big not null, born date, seen timestamptz not null, tags text[] not null, extra jsonb, name text)`, database.url)
  const select = ['active', 'n', 'ratio', 'big', 'born', 'seen', 'tags', 'extra', 'name']
  const options = { users: { table: 'kinds', select, columns: { lastLogin: null } }, token: { table: 'kinds_tokens' } }
  const { components: { schemas: { TokenAuthUser: { properties, required } } } } = await documentOf(t, options)
  t.same(required, ['id', 'username', ...required.slice(2)])
  t.same(required.slice(2).sort(), [...select].sort())
  t.match(properties, {
    active: { type: 'boolean' },
    n: { type: 'integer' },
    ratio: { type: 'number' },
    big: { type: 'string' },
    born: { anyOf: [{ type: 'string', format: 'date' }, { type: 'null' }] },
    seen: { type: 'string', format: 'date-time' },
    tags: { type: 'array' },
    name: { anyOf: [{ type: 'string' }, { type: 'null' }] }
  })
  t.same(properties.extra, {})
  const asleep = await documentOf(t, { ...options, database: { connectionString: 'postgres://127.0.0.1:1/none' }, start: 'degraded' })
  t.same(asleep.components.schemas.TokenAuthUser.required, ['id', 'username'], 'without the database')
})

t.test('a Swagger 2.0 document has no keyword that Swagger 2.0 does not have', async (t) => {
  const document = await documentOf(t, {}, () => {}, { swagger: {} })
  const unknown: string[] = []
  function look (value: unknown, path: string): void {
    if (typeof value !== 'object' || value === null) return
    for (const [key, inner] of Object.entries(value)) {
      if (['examples', 'anyOf', 'oneOf', 'const', 'nullable'].includes(key) && !path.endsWith('properties')) unknown.push(`${path}/${key}`)
      if (key === 'type' && (Array.isArray(inner) || inner === 'null')) unknown.push(`${path}/${key}`)
      look(inner, `${path}/${key}`)
    }
  }
  look({ paths: document.paths, definitions: document.definitions }, '')
  t.same(unknown, [])
  const [body] = document.paths['/auth/login'].post.parameters
  t.match(body.schema.properties.username, { type: 'string', example: String })
  t.match(document.definitions.TokenAuthSession.properties, { ip: { type: 'string', 'x-nullable': true }, current: { type: 'boolean' } })
  t.match(document.definitions.TokenAuthUser.properties.username, { type: 'string' })
})

t.test('an OpenAPI 3.0 document has no type null and no list of types', async (t) => {
  const { components: { schemas } } = await documentOf(t, {}, () => {}, { openapi: { openapi: '3.0.3' } })
  t.match(schemas.TokenAuthUser.properties.id, { anyOf: [{ type: 'string' }, { type: 'integer' }] })
  t.match(schemas.TokenAuthSession.properties.ip, { type: 'string', nullable: true })
  t.match(schemas.TokenAuthSession.properties.scopes, { type: 'array', nullable: true })
  t.notMatch(JSON.stringify(schemas), /"null"|"type":\[/)
})

t.test('two registrations have operation ids, tags and schema names of their own', async (t) => {
  for (const name of ['staff', 'shop']) await query(`create table ${name}_users (id int primary key, username text, password_hash text, active boolean)`, database.url)
  const options = (prefix: string, idPrefix: string) => testOptions(database.url, { prefix: `/${prefix}`, token: { table: `${prefix}_tokens` }, users: { table: `${prefix}_users`, columns: { lastLogin: null } }, openapi: { operationIdPrefix: idPrefix, tags: [prefix] } })
  const { server, warnings } = logTo()
  const app = Fastify(server)
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi: '3.1.0', tags: [{ name: 'staff', description: 'mine' }] } })
  await app.register(async (scope) => {
    await scope.register(authPlugin, options('staff', 'staff'))
    t.match(scope.tokenAuth.openapi().tags, [{ name: 'staff' }])
  }).register(async (scope) => await scope.register(authPlugin, options('shop', 'shop_')))
  await app.ready()
  const document: any = app.swagger()
  const operations = operationsOf(document)
  const ids = operations.map(({ operationId }) => operationId)
  t.equal(operations.length, 14)
  t.equal(new Set(ids).size, 14)
  t.ok(ids.includes('staffLogin') && ids.includes('shop_login'))
  t.same(document.tags.map(({ name, description }: any) => [name, description]), [['staff', 'mine'], ['shop', 'Login, logout, sessions and the password']])
  t.match(document.paths['/shop/login'].post, { tags: ['shop'] })
  t.same(Object.keys(document.components.schemas).filter((name) => name.endsWith('Error')).sort(), ['shop_TokenAuthError', 'staffTokenAuthError'])
  t.same(referencesIn(document).filter((reference) => !isDefined(document, reference)), [])
  t.notMatch(warnings().join(), 'operation id')
})

t.test('two registrations with the same operation ids get one warning that names the option', async (t) => {
  const publish = async (documents: object, shown: NonNullable<AuthPluginOptions['openapi']> = {}) => {
    const { server, warnings } = logTo()
    const app = Fastify(server)
    t.teardown(() => app.close())
    await app.register(swagger, documents)
    for (const prefix of ['/one', '/two']) {
      await app.register(async (scope) => await scope.register(authPlugin, testOptions(database.url, { prefix, openapi: prefix === '/two' ? shown : {} })))
    }
    await app.ready()
    app.swagger()
    return warnings().filter((message) => message.includes('operation id'))
  }
  for (const documents of [{ openapi: { openapi: '3.1.0' } }, { swagger: {} }]) {
    const told = await publish(documents)
    t.equal(told.length, 1)
    t.match(told[0], /^two registrations have the operation id "\w+" .* openapi\.operationIdPrefix/)
  }
  const document = { openapi: { openapi: '3.1.0' } }
  t.same(await publish(document, { transform: ({ schema, url }) => ({ schema: { ...schema, hide: true }, url }) }), [], 'hidden')
  t.same(await publish(document, { transform: ({ schema, url }) => ({ schema: { ...schema, operationId: undefined }, url }) }), [], 'without ids')
})

t.test('a protected route of the host gets the security scheme, unless it names one or none is wanted', async (t) => {
  const own = [{ other: [] }]
  const routes: Routes = (app) => {
    app.get('/plain', async () => '')
    app.get('/bare', { onRequest: app.authenticate }, async () => '')
    app.get('/decorator', { onRequest: app.authenticate, schema: {} }, async () => '')
    app.get('/imported', { preHandler: [async () => {}, authenticate.with({ scopes: ['a'] })], schema: { summary: 'mine' } as object }, async () => '')
    app.get('/optional', { preValidation: app.authenticate.with({ optional: true }), schema: {} }, async () => '')
    app.get('/own', { onRequest: app.authenticate, schema: { security: own } as object }, async () => '')
  }
  const securityOf = ({ paths }: any) => Object.fromEntries(['plain', 'bare', 'decorator', 'imported', 'optional', 'own'].map((name) => [name, paths[`/${name}`].get.security]))
  const described = await documentOf(t, {}, routes, OTHER)
  const needed = [{ bearerToken: [] }]
  t.same(securityOf(described), { plain: undefined, bare: undefined, decorator: needed, imported: needed, optional: [{}, ...needed], own })
  t.equal(described.paths['/imported'].get.summary, 'mine')
  t.same(securityOf(await documentOf(t, { openapi: { hostRoutes: false } }, routes, OTHER)), { plain: undefined, bare: undefined, decorator: undefined, imported: undefined, optional: undefined, own })
})

t.test('the transform of the host has the last word about the plugin\'s routes', async (t) => {
  const document = await documentOf(t, {
    openapi: {
      transform: ({ schema, url }) => ({ schema: { ...schema, tags: ['moved'], ...(url === '/auth/logout-all' && { hide: true }) }, url: `/v1${url}` })
    }
  })
  t.match(document.paths['/v1/auth/login'].post, { operationId: 'login', tags: ['moved'] })
  t.notOk('/v1/auth/logout-all' in document.paths)
})

t.test('the examples are a body that the route accepts', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi: '3.1.0' } })
  await app.register(authPlugin, testOptions(database.url))
  await app.ready()
  const bodyOf = (path: string) => (app.swagger() as any).paths[path].post.requestBody.content['application/json'].schema
  for (const path of ['/auth/login', '/auth/change-password']) {
    const schema = bodyOf(path)
    const example = Object.fromEntries(Object.entries<any>(schema.properties).map(([name, { examples }]) => [name, examples[0]]))
    t.equal(new Ajv2020({ strict: false }).validate(schema, example), true, path)
  }
  await app.tokenAuth.createUser({ username: 'demo', password: 'correct horse battery' })
  const { username: { examples: [username] }, password: { examples: [password] } } = bodyOf('/auth/login').properties
  t.equal((await app.inject({ method: 'POST', url: '/auth/login', payload: { username, password } })).statusCode, 200)
})
