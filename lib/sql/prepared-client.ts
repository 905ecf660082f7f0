import type { EventEmitter } from 'node:events'
import pg from 'pg'
import type { ClientConfig } from 'pg'
import { STANDBY } from './errors.js'
import { createStatementNames } from './statement-names.js'
import type { StatementNames } from './statement-names.js'
import { isUseless, watchClient } from './unusable-clients.js'

/** Statements with this prefix are prepared under that name, once per connection. */
const NAMED = /^\/\*(fta_[0-9a-f]{16})\*\//

/** All clients of a pool have the same configuration object. */
const namesOfPools = new WeakMap<object, StatementNames>()

/**
 * A `pg.Client` that prepares the token lookup by name, once per connection: it is planned once, not at every miss.
 * If named statements do not work, it is sent without a name. A client that is connected to a standby refuses every statement. (PostgreSQL
 * reports that since version 14.) Pass it to a pool of your own: `new pg.Pool({ ..., Client: PreparedClient })`.
 */
export class PreparedClient extends pg.Client {
  readonly #names: StatementNames
  #isStandby = false

  constructor (config?: string | ClientConfig) {
    super(config)
    const pool = typeof config === 'object' ? config : this
    this.#names = namesOfPools.get(pool) ?? createStatementNames()
    namesOfPools.set(pool, this.#names)
    surviveLoss(this)
    watchClient(this, { pool, rests: 0 })
    this.connection.on('parameterStatus', ({ parameterName, parameterValue }) => {
      if (parameterName === 'in_hot_standby') this.#isStandby = parameterValue === 'on'
    })
  }

  // pg's query() has eight overloads; only the one that Kysely calls, with a string and values, is changed.
  override query (...args: any[]): any {
    if (this.#isStandby) return this.#refuse(args)
    // The end of its last statement has not arrived yet, but the pool has already lent it again.
    if (isUseless(this)) this.end()
    const name = args.length === 2 && typeof args[0] === 'string' ? NAMED.exec(args[0])?.[1] : undefined
    if (name === undefined) return (super.query as any)(...args)
    return this.#queryNamed(name, args)
  }

  // If the name was rejected, neither the name nor the statement had an effect.
  #queryNamed (base: string, [text, values]: any[]): any {
    const name = this.#names.of(base)
    if (name === undefined) return super.query(text, values)
    return super.query({ name, text, values }).catch((error) => {
      if (!this.#names.areVoidedBy(error)) throw error
      return super.query(text, values)
    })
  }

  // The pool drops a client that has ended: the next one may reach the primary. For callers with a callback, pg itself reports the error.
  #refuse (args: any[]): any {
    this.end()
    // As in query(): the overload is the caller's.
    if (typeof args.at(-1) === 'function') return (super.query as any)(...args)
    return Promise.reject(Object.assign(new Error('the server is a standby'), { code: STANDBY }))
  }
}

// While a client is lent, neither the pool nor Kysely listens to its errors: a lost connection would end the process.
// The statement under way still rejects.
export function surviveLoss (client: pg.ClientBase): void {
  listenOnce(client, 'error', ignore)
}

export function listenOnce (emitter: EventEmitter, event: string, listener: (...values: any[]) => void): void {
  if (!emitter.listeners(event).includes(listener)) emitter.on(event, listener)
}

export function ignore (): void {}
