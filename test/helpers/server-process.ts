// A server process of its own: prints its port, serves until it is told to stop.
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { authPlugin } from '../../lib/index.js'
import { fastHasher } from './app.js'

const options = JSON.parse(process.argv[2] as string)
const app = Fastify()
await app.register(authPlugin, { hasher: fastHasher, ...options })
app.get('/protected', { onRequest: app.authenticate }, async ({ user }) => user)
await app.listen({ port: 0, host: '127.0.0.1' })
process.on('SIGTERM', () => { app.close().catch(() => { process.exitCode = 1 }) })
process.stdout.write(`${(app.server.address() as AddressInfo).port}\n`)
