import type pg from 'pg'
import type { ClientConfig } from 'pg'
import { withDeadline } from '../tools/deadline.js'
import { UNAVAILABLE } from '../errors.js'

export interface TrackedClients {
  Client: typeof pg.Client
  /**
   * Calls `end` of the pool, and resolves when every connection is closed. A connection that does not close in time is destroyed, and its
   * statements reject: a server that hangs does not answer the goodbye, and would keep the process alive.
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
      // Clients of pg-native have no connection that could be destroyed.
      for (const { connection } of open.keys() as Iterable<Partial<pg.Client>>) connection?.stream.destroy()
    }
  }
}
