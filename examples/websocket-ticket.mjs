// A WebSocket for browsers, which cannot set its Authorization header: the page fetches a ticket with its token, and connects with the ticket.
//   DATABASE_URL=postgres://... node examples/websocket-ticket.mjs
import { randomBytes } from 'node:crypto'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import authPlugin from 'fastify-token-auth'

const { DATABASE_URL, PORT = '3000' } = process.env
const app = Fastify({ logger: { level: 'warn' } })

await app.register(websocket)
await app.register(authPlugin, { database: { connectionString: DATABASE_URL }, autoMigrate: true })

// In this process: with several, keep them in Redis. A ticket works once, for 30 seconds, and while its session lives.
const tickets = new Map()

app.post('/live-ticket', { onRequest: app.authenticate }, async ({ user, auth }) => {
  const ticket = randomBytes(32).toString('base64url')
  tickets.set(ticket, { user, sessionId: auth.sessionId })
  setTimeout(() => tickets.delete(ticket), 30_000).unref()
  return { ticket }
})

async function takeTicket (request) {
  const ticket = tickets.get(request.query.ticket)
  tickets.delete(request.query.ticket)
  if (ticket === undefined || !await isLive(ticket)) throw Object.assign(new Error('The ticket is unknown, used or expired'), { statusCode: 401 })
  request.user = ticket.user
}

// The user may have logged out since.
async function isLive ({ user, sessionId }) {
  const sessions = await app.tokenAuth.listSessions(user.id)
  return sessions.some(({ id }) => id === sessionId)
}

app.get('/live', { websocket: true, onRequest: takeTicket }, (socket, { user }) => socket.send(`hello ${user.username}`))

// A user to log in as. A real application has a route for this.
await app.tokenAuth.createUser({ username: 'ann', password: 'correct horse battery' }).catch((error) => {
  if (error.code !== 'FST_TOKEN_AUTH_USERNAME_TAKEN') throw error
})

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
console.log(`Listening on ${await app.listen({ port: Number(PORT) })}`)
