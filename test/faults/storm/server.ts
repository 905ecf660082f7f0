// A server process of a storm: prints its port, and serves until it is killed. Its clock is as wrong as it is told.
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { authPlugin } from '../../../lib/index.js'
import { fastHasher } from '../../helpers/app.js'

const { clockMs, ...options } = JSON.parse(process.argv[2] as string)
const app = Fastify()
await app.register(authPlugin, { hasher: fastHasher, now: () => Date.now() + clockMs, ...options })
app.get('/protected', { onRequest: app.authenticate }, async ({ user }) => user)
app.get('/fresh', { onRequest: app.authenticate.with({ fresh: true }) }, async ({ user }) => user)
// What only the host may do, open to the storm.
app.get('/test/health', async () => await app.tokenAuth.health())
app.post<{ Body: { userId: string, active: boolean } }>('/test/set-active', async ({ body: { userId, active } }, reply) => {
  await app.tokenAuth.setActive(userId, active)
  return await reply.code(204).send()
})
app.post<{ Body: { userId: string } }>('/test/delete-user', async ({ body: { userId } }, reply) => {
  await app.tokenAuth.deleteUser(userId)
  return await reply.code(204).send()
})
await app.listen({ port: 0, host: '127.0.0.1' })
process.stdout.write(`${(app.server.address() as AddressInfo).port}\n`)
