// Sends requests over keep-alive connections, each when the one before it is answered. It is not autocannon, because that needs as much CPU
// for a request as the bare route does: on one core the load generator, and not the server, would be the limit. It also rounds to milliseconds.
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const BODY = '{"username":"alice"}'
const STATUS = 'HTTP/1.1 200'

/**
 * Loads a server, and returns the milliseconds of the requests that were sent and answered in the measured time.
 * `next` returns the bytes of the next request. `around` is called before and after the measured time.
 */
export async function load ({ port, connections, next, warmMs, measureMs, around }) {
  const run = { next, startedAt: Infinity, isOver: false, times: [], completed: 0 }
  const failure = new Promise((_resolve, reject) => { run.fail = reject })
  const sockets = await Promise.all(Array.from({ length: connections }, () => connect(port)))
  try {
    for (const socket of sockets) ask(socket, run)
    return await Promise.race([measure(run, { warmMs, measureMs, around }), failure])
  } finally {
    run.isOver = true
    for (const socket of sockets) socket.destroy()
  }
}

async function measure (run, { warmMs, measureMs, around }) {
  await sleep(warmMs)
  const before = await around()
  run.startedAt = performance.now()
  run.completed = 0
  await sleep(measureMs)
  const seconds = (performance.now() - run.startedAt) / 1000
  run.isOver = true
  const { completed, times } = run
  if (times.length === 0) throw new Error('the server answered no request')
  return { completed, times, seconds, before, after: await around() }
}

async function connect (port) {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  return socket
}

function ask (socket, run) {
  let sentAt = 0
  let received = ''

  function send () {
    sentAt = performance.now()
    try {
      socket.write(run.next())
    } catch (error) {
      run.fail(error)
    }
  }

  socket.on('error', run.fail)
  socket.on('close', () => { if (!run.isOver) run.fail(new Error('the server closed a connection')) })
  socket.on('data', (chunk) => {
    received += chunk.latin1Slice()
    if (!received.startsWith(STATUS)) return run.fail(new Error(`the server answered ${received.slice(0, 300)}`))
    if (!received.endsWith(BODY) || run.isOver) return
    received = ''
    run.completed++
    // A request that was sent before the measurement may have waited for its start.
    if (sentAt >= run.startedAt) run.times.push(performance.now() - sentAt)
    send()
  })
  send()
}

/** The bytes of `GET /me` with one more header. */
export function requestOf (header) {
  return Buffer.from(`GET /me HTTP/1.1\r\nhost: 127.0.0.1\r\n${header}\r\n\r\n`, 'latin1')
}
