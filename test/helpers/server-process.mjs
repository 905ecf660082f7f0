// A separate server process that runs the build. It prints its port and serves until SIGTERM. `clockMs` sets the error of its clock.
import bcryptjs from 'bcryptjs'
import Fastify from 'fastify'
import { authPlugin, recaptcha } from '../../dist/lib/index.js'

const { testCaptcha, clockMs = 0, ...options } = JSON.parse(process.argv[2])
let verified = 0
const hasher = {
  hash: (password) => bcryptjs.hash(password, 4),
  verify: (password, hash) => {
    verified++
    return bcryptjs.compare(password, hash)
  },
  needsRehash: () => false,
  understands: (hash) => /^\$2b\$04\$[./A-Za-z0-9]{53}$/.test(hash)
}
const app = Fastify()
await app.register(authPlugin, { hasher, now: () => Date.now() + clockMs, ...options, ...(testCaptcha === undefined ? {} : { captcha: recaptcha(testCaptcha) }) })
app.get('/protected', { onRequest: app.authenticate.with({ scopes: 'any' }) }, async ({ user }) => user)
app.get('/fresh', { onRequest: app.authenticate.with({ fresh: true, scopes: 'any' }) }, async ({ user }) => user)
app.get('/orders', { onRequest: app.authenticate.with({ scopes: ['orders'] }) }, async ({ user }) => user)
// Functions for the host alone, exposed to the test.
app.get('/test/health', async () => await app.tokenAuth.health())
app.post('/test/set-active', async ({ body: { userId, active } }, reply) => {
  await app.tokenAuth.setActive(userId, active)
  return await reply.code(204).send()
})
app.post('/test/delete-user', async ({ body: { userId } }, reply) => {
  await app.tokenAuth.deleteUser(userId)
  return await reply.code(204).send()
})
app.post('/test/issue-token', async ({ body: { userId, ...about } }) => await app.tokenAuth.issueToken(userId, about))
app.post('/test/refresh-user', async ({ body: { userId } }) => ({ isRefreshed: await app.tokenAuth.refreshUser(userId) }))
app.get('/test/verified', async () => verified)
await app.listen({ port: 0, host: '127.0.0.1' })
process.on('SIGTERM', () => { app.close().catch(() => { process.exitCode = 1 }) })
process.stdout.write(`${app.server.address().port}\n`)
