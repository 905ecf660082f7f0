import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import t, { test } from 'tap'
import type { Test } from 'tap'
import WebSocket from 'ws'
import { post, spawnNode, untilPrinted } from '../helpers/cli.js'
import { freshDatabase, redisUrl } from '../helpers/services.js'

const PASSWORD = 'correct horse battery'

// Readers copy the examples, so they import the package by its name, which resolves to the build.
if (!existsSync('dist/lib/index.js')) {
  const { status, stdout } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc'], { encoding: 'utf8' })
  t.equal(status, 0, `the package can be built: ${stdout}`)
}

// The examples create their user at the start. On a machine so slow that the first hash exceeds the maximum wait, the start is retried.
async function startExample (t: Test, name: string): Promise<ReturnType<typeof spawnNode>> {
  const server = spawnNode(t, [`examples/${name}.mjs`], { DATABASE_URL: await freshDatabase(t), REDIS_URL: redisUrl(), PORT: '0' })
  try {
    await untilPrinted(server, 'Listening on ')
    return server
  } catch (error) {
    if (!/FST_TOKEN_AUTH_(OVERLOADED|UNAVAILABLE)/.test(server.err())) throw error
    return await startExample(t, name)
  }
}

/** Runs an example on an empty database, makes a request as a logged-in user, and stops it. */
async function tryExample (t: Test, name: string, username: string, path: string): Promise<unknown> {
  const server = await startExample(t, name)
  const url = /Listening on (\S+)/.exec(server.out())?.[1] as string
  t.equal((await fetch(url + path)).status, 401)
  const reply = await post(url, '/auth/login', { username, password: PASSWORD })
  t.equal(reply.status, 200)
  const { token } = await reply.json() as { token: string }
  const headers = { authorization: `Bearer ${token}` }
  const answer = await (await fetch(url + path, { headers })).json()
  t.equal((await fetch(`${url}/auth/logout`, { method: 'POST', headers })).status, 204)
  t.equal((await fetch(url + path, { headers })).status, 401)
  server.child.kill('SIGTERM')
  t.match(await server.result, { code: 0, err: '' })
  return answer
}

test('examples/server.mjs serves a protected route', async (t) => {
  t.same(await tryExample(t, 'server', 'ann', '/hello'), { hello: 'ann' })
})

test('examples/own-users-table.mjs serves the users of another table', async (t) => {
  t.same(await tryExample(t, 'own-users-table', 'ann@example.com', '/hello'), { hello: 'Ann Example', id: 1 })
})

test('examples/fastify-redis.mjs shares the Redis address of the host\'s client', async (t) => {
  t.same(await tryExample(t, 'fastify-redis', 'ann', '/visits'), { visits: 1 })
})

test('examples/websocket-ticket.mjs accepts a ticket once, and only while its session lives', async (t) => {
  const server = await startExample(t, 'websocket-ticket')
  const url = /Listening on (\S+)/.exec(server.out())?.[1] as string
  const { token } = await (await post(url, '/auth/login', { username: 'ann', password: PASSWORD })).json() as { token: string }
  const headers = { authorization: `Bearer ${token}` }
  const fetchTicket = async () => (await (await fetch(`${url}/live-ticket`, { method: 'POST', headers })).json() as { ticket: string }).ticket
  const ticket = await fetchTicket()
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live?ticket=${ticket}`)
  const [message] = await once(socket, 'message')
  t.equal(String(message), 'hello ann')
  socket.close()
  t.equal((await fetch(`${url}/live?ticket=${ticket}`)).status, 401)
  const unused = await fetchTicket()
  t.equal((await fetch(`${url}/auth/logout`, { method: 'POST', headers })).status, 204)
  t.equal((await fetch(`${url}/live?ticket=${unused}`)).status, 401)
})

test('examples/own-cache.mjs tests a custom cache', async (t) => {
  const { code, out, err } = await spawnNode(t, ['examples/own-cache.mjs']).result
  t.match({ code, err }, { code: 0, err: '' })
  t.match(out, /^9 checks of the contract hold$/m)
  t.match(out, /^[1-9]\d{3} schedules, for [1-9]\d+ orders of their steps: 0 violations$/m)
  t.match(out, /^without comparing the lease, after [1-9]\d* schedules:$/m)
  t.match(out, /^reader A: cache\.fill$/m)
})
