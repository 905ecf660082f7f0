import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'

/** `request`: to the target. `reply`: back from it. */
export type Direction = 'request' | 'reply'

/** Which answers are lost, and when the connection breaks. */
export interface LostAnswer {
  /** Whether the answer to this chunk from the client is lost. The chunk does reach the target. */
  to: (chunk: Buffer) => boolean
  /** `sending`: as soon as the chunk is sent, so that the target may still be processing it. `answering`: when the answer arrives. */
  at: 'sending' | 'answering'
}

export interface TcpProxy {
  port: number
  /** Forwards everything at once again. Frozen or delayed data arrives late; connections that were cut stay cut. */
  pass (): void
  /** Breaks every connection, and refuses new ones. */
  cut (): void
  /** Breaks every connection once; new ones are forwarded. */
  reset (): void
  /**
   * Half-open: connections stay, new ones are accepted, and nothing arrives, not even their end, in both directions or in one
   * direction.
   */
  freeze (direction?: Direction): void
  /** Half-closed: ends every connection in one direction once. The other side does not see the end until `pass()`. New connections are forwarded. */
  halfClose (direction: Direction): void
  /** Delays everything by this many milliseconds in each direction. */
  delay (ms: number): void
  /** Breaks every existing or new connection after this many more bytes of replies, in the middle of a reply. */
  cutReplies (bytes: number): void
  /** Breaks each existing or new connection that sends a matching chunk: the chunk arrives, and its answer does not. */
  loseAnswer (lost: LostAnswer): void
  /** Applies `alter` to each chunk of replies. */
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
  /** Resolves when other conditions replace these. */
  over: Promise<void>
  end: () => void
}

interface Pair {
  client: Socket
  upstream: Socket
  replyBytes: number
  /** The conditions under which it was half-closed. */
  halfClosed: Conditions | null
  /** The connection ends instead of the answer that it waits for. */
  isDoomed: boolean
}

function createConditions (more: Partial<Conditions>): Conditions {
  let end = () => {}
  const over = new Promise<void>((resolve) => { end = resolve })
  return { isCut: false, delayMs: 0, replyBytes: Infinity, alter: (chunk) => chunk, lost: null, frozen: [], over, end, ...more }
}

/** A TCP proxy with its own port, which can cut, freeze and delay connections between a server and Redis or PostgreSQL. */
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

  // Keeps the order of chunks, so that no chunk overtakes another when a delay ends. The end of the connection counts as a chunk.
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

  // end() and not destroy(), so that the bytes before it arrive.
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
