import pg from 'pg'
import type { Test } from 'tap'
import { PreparedClient } from '../../lib/index.js'

export interface LosingPool {
  pool: pg.Pool
  /** The next statement whose text matches is executed, and its connection breaks before the answer. */
  loseAnswerOf (text: RegExp): void
}

/** A pool of real connections that break after PostgreSQL has executed a statement. */
export function losingPool (t: Test, connectionString: string, more: pg.PoolConfig = {}): LosingPool {
  let wanted: RegExp | null = null

  class LosingClient extends PreparedClient {
    override query (...args: any[]): any {
      const answer = super.query(...args)
      if (typeof args[0] !== 'string' || wanted?.test(args[0]) !== true) return answer
      wanted = null
      return answer.then(() => {
        // As pg itself reports a socket that was reset.
        (this as unknown as { connection: { stream: { destroy (): void } } }).connection.stream.destroy()
        throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
      })
    }
  }

  const pool = new pg.Pool({ connectionString, Client: LosingClient, ...more })
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return { pool, loseAnswerOf (text) { wanted = text } }
}
