import type { Channel } from '../tools/channel.js'
import { createSubscription } from '../tools/subscription.js'
import type { Receiver } from '../tools/subscription.js'

/** The methods that the channel uses of an ioredis client, which is only subscribed. */
export interface SubscriberCommands {
  connect (): Promise<void>
  subscribe (...names: string[]): Promise<unknown>
  disconnect (): void
  on (event: 'close', listener: () => void): unknown
  on (event: 'error', listener: (error: Error) => void): unknown
  on (event: 'message', listener: (name: string, message: string) => void): unknown
}

export interface RedisChannelSettings {
  /** A client that is not connected, and does not connect again by itself. It may throw if there is no server to connect to. */
  openSubscriber: () => SubscriberCommands
  publisher: { publish (name: string, message: string): Promise<unknown> }
  /** The name of the channel of all servers; that of one server has its id after a colon. */
  name: string
  server: string
  onFailure: (error: Error) => void
}

/** Redis sends much larger messages, but its other clients wait meanwhile. */
const MAX_LENGTH = 22_000

/** Redis pub/sub. */
export function createRedisChannel ({ openSubscriber, publisher, name, server, onFailure }: RedisChannelSettings): Channel {
  const { close, ...subscription } = createSubscription({ connect, onFailure })

  function connect (onMessage: (message: string) => void, onLost: () => void): Receiver {
    const client = openSubscriber()
    // What is wrong is in the rejection of `ready`.
    client.on('error', () => {})
    client.on('close', onLost)
    client.on('message', (_name, message) => onMessage(message))
    const ready = client.connect().then(async () => { await client.subscribe(name, `${name}:${server}`) })
    return { ready, close: () => client.disconnect() }
  }

  return {
    ...subscription,
    maxLength: MAX_LENGTH,
    async send (to, message) { await publisher.publish(to === null ? name : `${name}:${to}`, message) },
    close: async () => close()
  }
}
