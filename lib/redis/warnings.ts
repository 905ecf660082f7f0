import type { Cluster, Redis } from 'ioredis'
import type { Logger } from '../ports.js'
import { onceAnOutage } from '../tools/quiet-log.js'
import { replyWord } from './errors.js'

// ioredis emits an error with every connection attempt: log one warning per outage, and one line at its end.
export function warnOnce (client: Redis | Cluster, logger: Logger, message: string): void {
  const outage = onceAnOutage((error: Error & { code?: string }) => logger.warn({ reason: reasonOf(error) }, message))
  client.on('error', (error: Error) => {
    // ioredis would continue in database 0, among foreign keys.
    if (error.message.includes('DB index')) client.disconnect()
    outage.failed(error)
  })
  client.on('ready', () => { if (outage.succeeded()) logger.info({}, 'Redis is back') })
}

function reasonOf (error: Error & { code?: string }): string {
  return error.name === 'ReplyError' ? replyWord(error) : error.code ?? error.name
}
