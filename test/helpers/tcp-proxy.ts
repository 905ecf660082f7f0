import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'

/** `request`: to the target. `reply`: back from it. */
export type Direction = 'request' | 'reply'

/** Which answers are lost, and when the connection breaks. */
export interface LostAnswer {
  /** Whether a chunk from the client is what the answer is about. It does reach the target. */
  to: (chunk: Buffer) => boolean
  /** `sending`: as soon as it is sent, so that the target may be still at it. `answering`: when the answer comes. */
  at: 'sending' | 'answering'
}

export interface TcpProxy {
  port: number
  /** Everything goes through at once again. What was frozen or delayed arrives late; what was cut stays cut. */
  pass (): void
  /** Breaks every connection, and refuses new ones. */
  cut (): void
  /** Breaks every connection once; new ones go through. */
  reset (): void
  /**
   * Half open: connections stay, new ones are accepted, and nothing arrives, not even their end: on either side, or in one
   * direction.
   */
  freeze (direction?: Direction): void
  /** Half closed: ends every connection in one direction once. The other side does not see its end until `pass()`. New ones go through. */
  halfClose (direction: Direction): void
  /** Everything arrives so many milliseconds late, each way. */
  delay (ms: number): void
  /** Breaks every connection, old or new, after so many more bytes of replies: in the middle of one. */
  cutReplies (bytes: number): void
  /** Breaks each connection, old or new, that sends such a thing: it arrives, and its answer does not. */
  loseAnswer (lost: LostAnswer): void
  /** What arrives of replies at once goes through this. */
  alterReplies (alter: (chunk: Buffer) => Buffer): void
  readonly connections: number
  /** How many answers `loseAnswer` has lost. */
  readonly lostAnswers: number
}

interface Conditions {
  isCut: boolean
  delayMs: number
  replyBytes: number
  alter: (chunk: Buffer) => Buffer
  lost: LostAnswer | null
  frozen: Direction[]
  /** Resolves when others take their place. */
  over: Promise<void>
  end: () => void
}

interface Pair {
  client: Socket
  upstream: Socket
  replyBytes: number
  /** Under which conditions it was half closed. */
  halfClosed: Conditions | null
  /** The answer that it waits for is the last. */
  isDoomed: boolean
}

function createConditions (more: Partial<Conditions>): Conditions {
  let end = () => {}
  const over = new Promise<void>((resolve) => { end = resolve })
  return { isCut: false, delayMs: 0, replyBytes: Infinity, alter: (chunk) => chunk, lost: null, frozen: [], over, end, ...more }
}

/** A TCP proxy on a port of its own, to cut, freeze and delay what is between a server and Redis or PostgreSQL. */
export async function createTcpProxy (t: Test, target: { port: number, host?: string }): Promise<TcpProxy> {
  const pairs = new Set<Pair>()
  let conditions = createConditions({})
  let lostAnswers = 0

  function become (next: Partial<Conditions>): void {
    const { end } = conditions
    conditions = createConditions(next)
    for (const pair of pairs) pair.replyBytes = conditions.replyBytes
    end()
  }

  function carry (pair: Pair, direction: Direction, write: (chunk: Buffer) => void, close: () => void): void {
    const from = direction === 'request' ? pair.client : pair.upstream
    const isHeld = (isEnd: boolean) => conditions.frozen.includes(direction) || (isEnd && pair.halfClosed === conditions)
    const enqueue = createQueue(isHeld)
    from.on('data', (chunk) => enqueue(() => write(chunk), false))
    from.on('close', () => enqueue(close, true))
    from.on('error', () => {})
  }

  // In order, chunk by chunk, so that a delay that ends does not let a chunk overtake another. The end is a chunk too.
  function createQueue (isHeld: (isEnd: boolean) => boolean) {
    let last = Promise.resolve()
    return (act: () => void, isEnd: boolean): void => {
      const dueAt = performance.now() + conditions.delayMs
      last = last.then(async () => {
        if (conditions.delayMs > 0) await pause(Math.max(0, dueAt - performance.now()))
        while (isHeld(isEnd)) await conditions.over
        act()
      })
    }
  }

  function request (pair: Pair, chunk: Buffer): void {
    if (!pair.upstream.writable) return
    pair.upstream.write(chunk)
    if (conditions.lost?.to(chunk) !== true) return
    pair.isDoomed = true
    if (conditions.lost.at === 'sending') lose(pair)
  }

  // end(), not destroy(): the bytes before it do arrive.
  function lose ({ client, upstream }: Pair): void {
    if (!client.destroyed) lostAnswers++
    client.destroy()
    upstream.end()
  }

  function reply (pair: Pair, arrived: Buffer): void {
    const { client, upstream } = pair
    if (pair.isDoomed) return lose(pair)
    const chunk = conditions.alter(arrived)
    if (client.writable) client.write(chunk.subarray(0, Math.min(chunk.length, pair.replyBytes)))
    pair.replyBytes -= chunk.length
    if (pair.replyBytes > 0) return
    client.end()
    upstream.destroy()
  }

  const server = createServer({ noDelay: true }, (client) => {
    if (conditions.isCut) {
      client.destroy()
      return
    }
    const upstream = connect({ host: '127.0.0.1', noDelay: true, ...target })
    const pair: Pair = { client, upstream, replyBytes: conditions.replyBytes, halfClosed: null, isDoomed: false }
    pairs.add(pair)
    upstream.on('close', () => pairs.delete(pair))
    carry(pair, 'request', (chunk) => request(pair, chunk), () => { if (!pair.isDoomed) upstream.destroy() })
    carry(pair, 'reply', (chunk) => reply(pair, chunk), () => client.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  function breakAll (): void {
    for (const { client, upstream } of pairs) {
      client.destroy()
      upstream.destroy()
    }
  }
  t.teardown(() => {
    become({})
    server.close()
    breakAll()
  })

  return {
    port: (server.address() as AddressInfo).port,
    pass: () => become({}),
    cut () {
      become({ isCut: true })
      breakAll()
    },
    reset: breakAll,
    freeze: (direction) => become({ frozen: direction === undefined ? ['request', 'reply'] : [direction] }),
    halfClose (direction) {
      become({})
      for (const pair of pairs) {
        pair.halfClosed = conditions
        if (direction === 'request') pair.upstream.end()
        else pair.client.end()
      }
    },
    delay: (delayMs) => become({ delayMs }),
    cutReplies: (replyBytes) => become({ replyBytes }),
    loseAnswer: (lost) => become({ lost }),
    alterReplies: (alter) => become({ alter }),
    get connections () { return pairs.size },
    get lostAnswers () { return lostAnswers }
  }
}
