import type pg from 'pg'
import { stallTolerantTimeout } from '../tools/deadline.js'

/** Beyond `statement_timeout`: the answer of the server may be slow, too. */
const MARGIN_MS = 5000

/**
 * A class of clients like `Client` for a server that ends each statement after `statementTimeoutMs`: if it does not answer soon after, the network has
 * lost the connection without a sign. The connection is destroyed. Otherwise the statement would wait for the kernel to give up, a quarter
 * of an hour, and keep its place among the bounded ones.
 */
export function withoutSilence (Client: typeof pg.Client, statementTimeoutMs: number): typeof pg.Client {
  return class extends Client {
    // pg's query() has eight overloads; Kysely calls the one with a string and values, which returns a promise.
    override query (...args: any[]): any {
      const answer = (super.query as any)(...args)
      if (statementTimeoutMs > 0 && answer instanceof Promise) this.#await(answer)
      return answer
    }

    #await (answer: Promise<unknown>): void {
      const cancel = stallTolerantTimeout(statementTimeoutMs + MARGIN_MS, () => destroy(this))
      answer.then(cancel, cancel)
    }
  }
}

// Clients of pg-native have no connection that could be destroyed.
function destroy ({ connection }: Partial<pg.Client>): void {
  connection?.stream.destroy(Object.assign(new Error('PostgreSQL is silent'), { code: 'ETIMEDOUT' }))
}
