import type pg from 'pg'
import type { ClientConfig } from 'pg'
import { withDeadline } from '../tools/deadline.js'
import { UNAVAILABLE } from '../errors.js'

export interface TrackedClients {
  Client: typeof pg.Client
  /**
   * Calls `end`, the pool's own, and resolves when every connection is closed. One that isn't within the time is cut, and what
   * was asked over it rejects: a server that hangs answers no farewell, and would keep the process running.
   */
  close (end: () => Promise<void>, timeoutMs: number): Promise<void>
}

/** A class of clients like `Client`, whose connections are known until they are closed: lent, idle and still connecting ones. */
export function trackClients (Client: typeof pg.Client): TrackedClients {
  const open = new Map<pg.Client, Promise<void>>()

  class TrackedClient extends Client {
    constructor (config?: string | ClientConfig) {
      super(config)
      open.set(this, new Promise((resolve) => {
        this.once('end', () => { open.delete(this); resolve() })
      }))
    }
  }

  return {
    Client: TrackedClient,
    async close (end, timeoutMs) {
      // The pool forgets an idle client before its connection is closed.
      const closed = end().then(() => Promise.all(open.values()))
      await Promise.allSettled([withDeadline(closed, { timeoutMs, expired: () => new UNAVAILABLE() })])
      // pg-native's clients have none that could be cut.
      for (const { connection } of open.keys() as Iterable<Partial<pg.Client>>) connection?.stream.destroy()
    }
  }
}
