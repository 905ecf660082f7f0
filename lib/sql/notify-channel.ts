import { createHash } from 'node:crypto'
import { sql } from 'kysely'
import type pg from 'pg'
import type { Channel } from '../tools/channel.js'
import { createSubscription } from '../tools/subscription.js'
import type { Receiver } from '../tools/subscription.js'
import type { Sql } from './gateway.js'
import { quoteName, quoteTable } from './quote.js'
import { surviveLoss } from './prepared-client.js'
import { membersTable } from './tables.js'
import type { Tables } from './tables.js'

export interface NotifyChannelSettings {
  sql: Sql
  tables: Tables
  server: string
  /** A client that is not connected; `null` if no connection can be had: then nothing is received. */
  openListener: (() => pg.Client) | null
  onFailure: (error: Error) => void
}

/** PostgreSQL refuses a payload of 8000 bytes or more. */
const MAX_LENGTH = 7900

/** `LISTEN` and `NOTIFY` of PostgreSQL. It listens on a connection of its own, and sends through the pool. */
export function createNotifyChannel ({ sql: { run }, tables: { map }, server, openListener, onFailure }: NotifyChannelSettings): Channel {
  // Names are of the database, not of a schema, and at most 63 bytes long.
  const name = `fta_${createHash('sha256').update(quoteTable(membersTable(map.tokens))).digest('hex').slice(0, 16)}`
  const { open, close, ...subscription } = createSubscription({ connect, onFailure })

  function connect (onMessage: (message: string) => void, onLost: () => void): Receiver {
    const client = openListener!()
    surviveLoss(client)
    client.on('end', onLost)
    client.on('notification', ({ payload }) => onMessage(payload!))
    const ready = client.connect().then(async () => { await client.query(`listen ${quoteName(name)}; listen ${quoteName(`${name}:${server}`)}`) })
    // A server that hangs does not answer the goodbye of `end`.
    return { ready, close: () => { client.connection.stream.destroy() } }
  }

  return {
    ...subscription,
    maxLength: MAX_LENGTH,
    open (listener) { if (openListener !== null) open(listener) },
    async send (to, message) {
      await run((db) => sql`select pg_catalog.pg_notify(${to === null ? name : `${name}:${to}`}, ${message})`.execute(db))
    },
    close: async () => close()
  }
}
