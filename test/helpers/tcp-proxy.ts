import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'

export interface TcpProxy {
  port: number
  /** Everything goes through at once again. What was frozen or delayed arrives late; what was cut stays cut. */
  pass (): void
  /** Breaks every connection, and refuses new ones. */
  cut (): void
  /** Breaks every connection once; new ones go through. */
  reset (): void
  /** Half open: connections stay, new ones are accepted, and nothing arrives on either side, not even their end. */
  freeze (): void
  /** Everything arrives so many milliseconds late, each way. */
  delay (ms: number): void
  /** Breaks every connection, old or new, after so many more bytes of replies: in the middle of one. */
  cutReplies (bytes: number): void
  /** What arrives of replies at once goes through this. */
  alterReplies (alter: (chunk: Buffer) => Buffer): void
  readonly connections: number
}

interface Conditions { isCut: boolean, delayMs: number, replyBytes: number, alter: (chunk: Buffer) => Buffer, frozen: Promise<void> | null, thaw: () => void }

const HEALTHY: Conditions = { isCut: false, delayMs: 0, replyBytes: Infinity, alter: (chunk) => chunk, frozen: null, thaw () {} }

/** A TCP proxy on a port of its own, to cut, freeze and delay what is between a server and Redis or PostgreSQL. */
export async function createTcpProxy (t: Test, target: { port: number, host?: string }): Promise<TcpProxy> {
  const pairs = new Set<{ break: () => void, replyBytes: number }>()
  let conditions = HEALTHY

  function become (next: Partial<Conditions>): void {
    const { thaw } = conditions
    conditions = { ...HEALTHY, ...next }
    for (const pair of pairs) pair.replyBytes = conditions.replyBytes
    thaw()
  }

  // In order, chunk by chunk, so that a delay that ends does not let a chunk overtake another. The end is a chunk too.
  function carry (from: Socket, to: Socket, write: (chunk: Buffer) => void): void {
    let last = Promise.resolve()
    const enqueue = (act: () => void) => {
      const dueAt = performance.now() + conditions.delayMs
      last = last.then(async () => {
        if (conditions.delayMs > 0) await pause(Math.max(0, dueAt - performance.now()))
        while (conditions.frozen !== null) await conditions.frozen
        act()
      })
    }
    from.on('data', (chunk) => enqueue(() => write(chunk)))
    from.on('close', () => enqueue(() => to.destroy()))
    from.on('error', () => {})
  }

  const server = createServer({ noDelay: true }, (client) => {
    if (conditions.isCut) {
      client.destroy()
      return
    }
    const upstream = connect({ host: '127.0.0.1', noDelay: true, ...target })
    const pair = {
      replyBytes: conditions.replyBytes,
      break () {
        client.destroy()
        upstream.destroy()
      }
    }
    pairs.add(pair)
    upstream.on('close', () => pairs.delete(pair))
    carry(client, upstream, (chunk) => { if (!upstream.destroyed) upstream.write(chunk) })
    carry(upstream, client, (arrived) => {
      const chunk = conditions.alter(arrived)
      if (!client.destroyed) client.write(chunk.subarray(0, Math.min(chunk.length, pair.replyBytes)))
      pair.replyBytes -= chunk.length
      // end(), not destroy(): the bytes before the cut do arrive.
      if (pair.replyBytes <= 0) { client.end(); upstream.destroy() }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const breakAll = () => { for (const pair of pairs) pair.break() }
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
    freeze () {
      let thaw = () => {}
      const frozen = new Promise<void>((resolve) => { thaw = resolve })
      become({ frozen, thaw })
    },
    delay: (delayMs) => become({ delayMs }),
    cutReplies: (replyBytes) => become({ replyBytes }),
    alterReplies: (alter) => become({ alter }),
    get connections () { return pairs.size }
  }
}
