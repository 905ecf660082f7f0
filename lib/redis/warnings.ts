import type { Cluster, Redis } from 'ioredis'
import type { Logger } from '../ports.js'
import { onceAnOutage } from '../tools/quiet-log.js'
import { replyWord } from './errors.js'
import { placeOf } from './place.js'

interface ConnectionError extends Error { code?: string }

/** ioredis emits an error with every connection attempt: logs one warning per outage, with its `effect`, and one line at its end. */
export function warnOnce (client: Redis | Cluster, logger: Logger, effect: string): void {
  const outage = onceAnOutage((error: ConnectionError) => {
    const refusal = refusalOf(error, client)
    if (refusal === null) logger.warn({ reason: error.code ?? error.name }, `Redis cannot be reached: ${effect}`)
    else logger.warn({ reason: refusal }, `Redis refused the connection (${refusal}): ${effect}`)
  })
  client.on('error', (error: Error) => {
    // ioredis would continue in database 0, among foreign keys.
    if (isWithoutDatabase(error)) client.disconnect()
    outage.failed(error)
  })
  client.on('ready', () => { if (outage.succeeded()) logger.info({}, 'Redis is back') })
}

/** Why a server that answers is not used. `null`: none has answered. */
function refusalOf (error: ConnectionError, client: Redis | Cluster): string | null {
  if (isWithoutDatabase(error)) return `it has no database ${placeOf(client).db}`
  if (error.name === 'ReplyError') return replyWord(error)
  // The parser of ioredis, of a server with another protocol.
  return /^(Unknown RESP type|Protocol error)/.test(error.message) ? 'the server is no Redis' : null
}

function isWithoutDatabase ({ message }: Error): boolean {
  return message.includes('DB index')
}
