import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'

export interface Address { host: string, port: number }

/** The answer of a Sentinel. Of two answers, the one with the higher epoch is newer. */
export interface SentinelAnswer {
  master: Address
  epoch: number
  /** The other Sentinels known to it. */
  others: Address[]
}

export type Hear = (answer: SentinelAnswer) => void

export interface Sentinels {
  /** Connects to these too. */
  open (addresses: Partial<Address>[]): void
  /** Asks all of them at once, and passes each answer on as it arrives. Resolves when each has answered or failed. */
  ask (hear: Hear): Promise<void>
  /** Asks each of them every second from now on, and passes the answers on. */
  watch (hear: Hear): void
  close (): void
}

const DEFAULT_PORT = 26_379
const WATCH_MS = 1000

/** Sentinels on connections that last until they are closed. The options are those of the master's client. */
export function openSentinels (options: RedisOptions): Sentinels {
  const opened = new Map<string, Redis>()
  const timers = new Map<Redis, NodeJS.Timeout>()

  // Each separately: one that hangs must not delay the others, and must not be asked again before its timeout.
  function repeat (client: Redis, hear: Hear): void {
    timers.set(client, setTimeout(async () => {
      await question(client, options).then(hear).catch(() => {})
      if (timers.has(client)) repeat(client, hear)
    }, WATCH_MS).unref())
  }

  return {
    open (addresses) {
      for (const { host = 'localhost', port = DEFAULT_PORT, ...more } of addresses) {
        const key = `${host}:${port}`
        if (!opened.has(key) && opened.size < options.sentinelMaxConnections!) opened.set(key, connect({ ...more, host, port }, options))
      }
    },
    async ask (hear) {
      await Promise.allSettled([...opened.values()].map(async (client) => hear(await question(client, options))))
    },
    watch (hear) {
      for (const client of opened.values()) repeat(client, hear)
    },
    close () {
      for (const timer of timers.values()) clearTimeout(timer)
      for (const client of opened.values()) client.disconnect()
      timers.clear()
      opened.clear()
    }
  }
}

function connect (address: Address & { family?: number }, options: RedisOptions): Redis {
  const { sentinelUsername, sentinelPassword, sentinelTLS, sentinelCommandTimeout, family, connectTimeout, socketTimeout, protocol } = options
  const client = new Redis({
    family,
    ...address,
    username: sentinelUsername,
    password: sentinelPassword,
    tls: sentinelTLS,
    connectTimeout,
    commandTimeout: sentinelCommandTimeout,
    socketTimeout,
    protocol,
    replyMapping: 'legacy',
    enableReadyCheck: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => WATCH_MS
  })
  // Pending commands fail with it.
  client.on('error', () => {})
  return client
}

/**
 * The next answer corrects one with an old epoch and a new address, but not one with a new epoch and an old address.
 * So the epoch is read first. "MASTER" has an address too: the old one, until the failover is complete.
 */
async function question (client: Redis, { name, updateSentinels, natMap }: RedisOptions): Promise<SentinelAnswer> {
  const call = (what: string) => client.call('SENTINEL', what, name!)
  const [state, [host, port], others] = await Promise.all([
    call('MASTER'),
    call('GET-MASTER-ADDR-BY-NAME'),
    updateSentinels === false ? [] : call('SENTINELS')
  ]) as [string[], [string, string], string[][]]
  const reach = ({ host, port }: Address) => (typeof natMap === 'function' ? natMap(`${host}:${port}`) : natMap?.[`${host}:${port}`]) ?? { host, port }
  return {
    master: reach({ host, port: Number(port) }),
    epoch: Number(fieldOf(state, 'config-epoch')),
    others: others
      .filter((fields) => !fieldOf(fields, 'flags').includes('disconnected'))
      .map((fields) => reach({ host: fieldOf(fields, 'ip'), port: Number(fieldOf(fields, 'port')) }))
  }
}

/** Alternating names and values. */
function fieldOf (fields: string[], name: string): string {
  return fields[fields.indexOf(name) + 1]!
}
