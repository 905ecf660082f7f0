// Uses every optional peer once. Requires DATABASE_URL (a database of its own) and REDIS_URL.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import redis from '@fastify/redis'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import Fastify from 'fastify'
import authPlugin, { argon2id } from 'fastify-token-auth'

const { DATABASE_URL: connectionString, REDIS_URL: url, PATH } = process.env
const PASSWORD = 'correct horse battery'
const username = `peer-${process.pid}`

const app = Fastify()
await app.register(redis, { url })
await app.register(swagger, { openapi: { openapi: '3.1.0' } })
await app.register(swaggerUi, { routePrefix: '/docs' })
await app.register(authPlugin, { database: { connectionString }, redis: app.redis, cache: { namespace: `${username}:` }, autoMigrate: true, hasher: argon2id({ memoryCost: 8192 }) })
await app.tokenAuth.createUser({ username, password: PASSWORD })
const login = await app.inject({ method: 'POST', url: '/auth/login', payload: { username, password: PASSWORD } })
const call = async (method, url) => (await app.inject({ method, url, headers: { authorization: `Bearer ${login.json().token}` } })).statusCode
assert.equal(await call('GET', '/auth/me'), 200)
assert.equal(await call('GET', '/auth/me'), 200)
assert.equal(await call('POST', '/auth/logout'), 204)
assert.equal(await call('GET', '/auth/me'), 401)
assert.ok(app.swagger().paths['/auth/login'])
assert.deepEqual(await app.tokenAuth.health(), { database: 'up', cache: 'up' })
await app.close()
console.log('ok      a server')

const serve = spawn(process.execPath, ['node_modules/fastify-token-auth/dist/lib/cli/main.js', 'serve', '--memory', '--port', '0'], { env: { PATH } })
const output = await new Promise((resolve) => {
  let text = ''
  serve.once('exit', () => resolve(text))
  for (const stream of [serve.stdout, serve.stderr]) {
    stream.on('data', (chunk) => {
      text += chunk
      if (text.includes('Press Ctrl-C')) resolve(text)
    })
  }
})
const origin = /Listening on (\S+)/.exec(output)?.[1]
assert.ok(origin, output)
for (const path of ['/docs', '/docs/json']) assert.equal((await fetch(origin + path)).status, 200)
serve.kill()
console.log('ok      serve, on the embedded database')
