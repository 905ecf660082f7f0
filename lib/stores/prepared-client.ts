import type { EventEmitter } from 'node:events'
import pg from 'pg'
import type { ClientConfig } from 'pg'
import { STANDBY } from './pg-errors.js'

/** Statements that start so are prepared once a connection under that name. */
const NAMED = /^\/\*(fta_[0-9a-f]{16})\*\//

/**
 * A `pg.Client` that prepares the plugin's hot statement by name, once a connection: it is planned once, not at every miss.
 * One that is connected to a standby refuses every statement. (PostgreSQL tells that since version 14.)
 * A host that makes its own pool passes it: `new pg.Pool({ ..., Client: PreparedClient })`.
 */
export class PreparedClient extends pg.Client {
  #isStandby = false

  constructor (config?: string | ClientConfig) {
    super(config)
    surviveLoss(this)
    this.connection.on('parameterStatus', ({ parameterName, parameterValue }) => {
      if (parameterName === 'in_hot_standby') this.#isStandby = parameterValue === 'on'
    })
  }

  // pg's query() has eight overloads; only the one that Kysely calls, with a text and values, is changed.
  override query (...args: any[]): any {
    if (this.#isStandby) return this.#refuse(args)
    const name = typeof args[0] === 'string' ? NAMED.exec(args[0])?.[1] : undefined
    if (name === undefined) return (super.query as any)(...args)
    return (super.query as any)({ name, text: args[0], values: args[1] }, ...args.slice(2))
  }

  // A client that has ended is no longer the pool's: the next one may reach the primary. pg answers those who call otherwise.
  #refuse (args: any[]): any {
    this.end()
    if (typeof args.at(-1) === 'function') return (super.query as any)(...args)
    return Promise.reject(Object.assign(new Error('the server is a standby'), { code: STANDBY }))
  }
}

// While a client is lent, neither the pool nor Kysely listens: a connection that the server ends would end the process.
// The statement that was under way rejects all the same.
export function surviveLoss (client: pg.ClientBase): void {
  listenOnce(client, 'error', ignore)
}

export function listenOnce (emitter: EventEmitter, event: string, listener: (value: any) => void): void {
  if (!emitter.listeners(event).includes(listener)) emitter.on(event, listener)
}

export function ignore (): void {}
