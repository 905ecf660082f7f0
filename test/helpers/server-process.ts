// A server process of its own: prints its port, serves until it is told to stop. Its clock is as wrong as it is told.
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { authPlugin, recaptcha } from '../../lib/index.js'
import type { IssueTokenOptions } from '../../lib/index.js'
import { countingHasher } from './app.js'

const { testCaptcha, clockMs = 0, ...options } = JSON.parse(process.argv[2] as string)
const app = Fastify()
const hasher = countingHasher()
await app.register(authPlugin, { hasher, now: () => Date.now() + clockMs, ...options, ...(testCaptcha === undefined ? {} : { captcha: recaptcha(testCaptcha) }) })
app.get('/protected', { onRequest: app.authenticate }, async ({ user }) => user)
app.get('/fresh', { onRequest: app.authenticate.with({ fresh: true }) }, async ({ user }) => user)
app.get('/orders', { onRequest: app.authenticate.with({ scopes: ['orders'] }) }, async ({ user }) => user)
// What only the host may do, open to the test.
app.get('/test/health', async () => await app.tokenAuth.health())
app.post<{ Body: { userId: string, active: boolean } }>('/test/set-active', async ({ body: { userId, active } }, reply) => {
  await app.tokenAuth.setActive(userId, active)
  return await reply.code(204).send()
})
app.post<{ Body: { userId: string } }>('/test/delete-user', async ({ body: { userId } }, reply) => {
  await app.tokenAuth.deleteUser(userId)
  return await reply.code(204).send()
})
app.post<{ Body: { userId: string } & IssueTokenOptions }>('/test/issue-token', async ({ body: { userId, ...about } }) => await app.tokenAuth.issueToken(userId, about))
app.post<{ Body: { userId: string } }>('/test/refresh-user', async ({ body: { userId } }) => ({ isRefreshed: await app.tokenAuth.refreshUser(userId) }))
app.get('/test/verified', async () => hasher.asked.filter((asked) => asked.startsWith('verify')).length)
await app.listen({ port: 0, host: '127.0.0.1' })
process.on('SIGTERM', () => { app.close().catch(() => { process.exitCode = 1 }) })
process.stdout.write(`${(app.server.address() as AddressInfo).port}\n`)
