import type pg from 'pg'
import type { ClientConfig } from 'pg'
import { codeOf } from './errors.js'
import { giveUp } from './unusable-clients.js'

/** Time limits that a client sends when it connects. */
const LIMITS = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'] as const

/**
 * A class of clients like `Client` for connection poolers that refuse these limits, such as PgBouncer without `ignore_startup_parameters`. After a
 * refusal the pool's later clients connect without them.
 */
export function withoutRefusedLimits (Client: typeof pg.Client, onRefused: () => void): typeof pg.Client {
  return class extends Client {
    readonly #config: ClientConfig

    // A pool passes the same object to all of its clients.
    constructor (config: ClientConfig) {
      super(config)
      this.#config = config
    }

    override connect (callback?: any): any {
      if (callback === undefined) return new Promise<void>((resolve, reject) => this.connect((error: Error | null) => error ? reject(error) : resolve()))
      return super.connect((error: Error) => {
        if (isRefusal(error) && dropLimits(this.#config)) onRefused()
        // Also a client that began to connect before: a later one may succeed.
        if (isRefusal(error)) giveUp(error)
        callback(error)
      })
    }
  }
}

function isRefusal (error: Error | null | undefined): error is Error {
  return codeOf(error) === '08P01' && LIMITS.some((name) => error!.message.includes(name))
}

function dropLimits (config: ClientConfig): boolean {
  const sent = LIMITS.filter((name) => config[name] !== undefined)
  for (const name of sent) delete config[name]
  return sent.length > 0
}
