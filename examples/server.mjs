// A complete server: PostgreSQL, Redis and one protected route.
//   DATABASE_URL=postgres://... REDIS_URL=redis://... node examples/server.mjs
import Fastify from 'fastify'
import authPlugin from 'fastify-token-auth'

const { DATABASE_URL, REDIS_URL, PORT = '3000' } = process.env
const app = Fastify({ logger: { level: 'warn' } })

await app.register(authPlugin, {
  database: { connectionString: DATABASE_URL },
  redis: { url: REDIS_URL },
  // Creates the tables `users` and `auth_tokens`. Several servers may start at once.
  autoMigrate: true
})

app.get('/hello', { onRequest: app.authenticate }, async ({ user }) => ({ hello: user.username }))

// A user to log in as. A real application has a route for this.
await app.tokenAuth.createUser({ username: 'ann', password: 'correct horse battery' }).catch((error) => {
  if (error.code !== 'FST_TOKEN_AUTH_USERNAME_TAKEN') throw error
})

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
console.log(`Listening on ${await app.listen({ port: Number(PORT) })}`)
