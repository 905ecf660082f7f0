// With the Redis client of @fastify/redis. The plugin uses its address, and opens a connection of its own,
// because token lookups must not wait in a queue until Redis is back.
//   DATABASE_URL=postgres://... REDIS_URL=redis://... node examples/fastify-redis.mjs
import fastifyRedis from '@fastify/redis'
import Fastify from 'fastify'
import authPlugin from 'fastify-token-auth'

const { DATABASE_URL, REDIS_URL, PORT = '3000' } = process.env
const app = Fastify({ logger: { level: 'warn' } })

await app.register(fastifyRedis, { url: REDIS_URL })
await app.register(authPlugin, {
  database: { connectionString: DATABASE_URL },
  redis: true,
  autoMigrate: true
})

app.get('/visits', { onRequest: app.authenticate }, async ({ user }) => ({ visits: await app.redis.incr(`visits:${user.id}`) }))

// A user to log in as. A real application has a route for this.
await app.tokenAuth.createUser({ username: 'ann', password: 'correct horse battery' }).catch((error) => {
  if (error.code !== 'FST_TOKEN_AUTH_USERNAME_TAKEN') throw error
})

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
console.log(`Listening on ${await app.listen({ port: Number(PORT) })}`)
