// Sends requests over keep-alive connections, each when the one before it is answered. It is not autocannon, because that needs as much CPU
// for a request as the bare route does: on one core the load generator, and not the server, would be the limit. It also rounds to milliseconds.
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const BODY = '{"username":"alice"}'
const STATUS = 'HTTP/1.1 200'

/**
 * Loads a server, and returns the milliseconds of the requests that were sent and answered in the measured time. Answers other than
 * the expected one are not among them, but are counted. `next` returns the bytes of the next request. `around` is called before and after the measured time.
 */
export async function load ({ port, connections, next, warmMs, measureMs, around }) {
  const run = { next, startedAt: Infinity, isOver: false, times: [], completed: 0, refused: 0, refusal: null }
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
  run.completed = run.refused = 0
  await sleep(measureMs)
  const seconds = (performance.now() - run.startedAt) / 1000
  run.isOver = true
  const { completed, refused, refusal, times } = run
  if (completed <= refused || times.length === 0) throw new Error(`the server answered ${completed} requests, and refused ${refused}: ${refusal}`)
  return { completed, refused, refusal, times, seconds, before, after: await around() }
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
    const isExpected = received.startsWith(STATUS) && received.endsWith(BODY)
    if (run.isOver || !(isExpected || isComplete(received))) return
    if (isExpected) note()
    else refuse()
    received = ''
    send()
  })

  function note () {
    run.completed++
    // A request that was sent before the measurement may have waited for its start.
    if (sentAt >= run.startedAt) run.times.push(performance.now() - sentAt)
  }

  function refuse () {
    run.refused++
    run.refusal = `${received.split('\r\n', 1)[0]} ${received.slice(received.indexOf('\r\n\r\n') + 4)}`
  }

  send()
}

function isComplete (received) {
  const head = received.indexOf('\r\n\r\n')
  const length = /^content-length: *(\d+)/im.exec(received.slice(0, Math.max(0, head)))?.[1]
  return length !== undefined && received.length >= head + 4 + Number(length)
}

/** The bytes of `GET /me` with one more header. */
export function requestOf (header) {
  return Buffer.from(`GET /me HTTP/1.1\r\nhost: 127.0.0.1\r\n${header}\r\n\r\n`, 'latin1')
}
