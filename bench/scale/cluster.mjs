// Forked processes that serve one port: node cluster.mjs <number of processes>
import cluster from 'node:cluster'
import Fastify from 'fastify'
import { authPlugin } from '../../dist/lib/index.js'

if (cluster.isPrimary) supervise(Number(process.argv[2]))
else await serve()

function supervise (count) {
  let listening = 0
  cluster.on('listening', (_worker, { port }) => { if (++listening === count) process.send({ port }) })
  process.once('disconnect', () => process.exit())
  // With port 0 all of them share the port that the first one got.
  for (let i = 0; i < count; i++) cluster.fork()
}

async function serve () {
  const app = Fastify()
  await app.register(authPlugin, {
    database: { connectionString: process.env.DATABASE_URL },
    redis: { url: process.env.REDIS_URL },
    cache: { namespace: 'bench-cluster:' }
  })
  app.get('/me', { onRequest: app.authenticate }, async ({ user }) => ({ username: user.username }))
  await app.listen({ port: 0, host: '127.0.0.1' })
}
