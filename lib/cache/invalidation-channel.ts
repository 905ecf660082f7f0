import type { Digest } from '../../types/cache.js'

/** Invalidations between near caches. A lost message costs time, never an error. */
export interface InvalidationChannel {
  /** Whether messages are being received. */
  isSubscribed (): boolean
  start (): void
  /** Never rejects. */
  publish (digests: readonly Digest[]): Promise<void>
  close (): Promise<void>
}

/** The methods that the channel uses of its ioredis client, which is only subscribed. */
export interface SubscriberCommands {
  connect (): Promise<void>
  subscribe (name: string): Promise<unknown>
  disconnect (): void
  on (event: 'ready' | 'close', listener: () => void): unknown
  on (event: 'message', listener: (name: string, message: string) => void): unknown
  readonly status: string
}

export interface InvalidationChannelSettings {
  /** Does not resubscribe by itself. */
  subscriber: SubscriberCommands
  publisher: { publish (name: string, message: string): Promise<unknown> }
  name: string
  onInvalid: (digests: readonly Digest[]) => void
  /** The subscription is lost, and so are the messages sent meanwhile. */
  onLost: () => void
  report: (operation: string, error: Error) => void
}

/** Maximum number of digests in a message: 22 kB. */
const CHUNK = 500
const RETRY_MS = 1000

/** Redis pub/sub on one channel: digests, joined by commas. Anything else in a message matches no entry. */
export function createInvalidationChannel ({ subscriber, publisher, name, onInvalid, onLost, report }: InvalidationChannelSettings): InvalidationChannel {
  let isSubscribed = false
  let retry: NodeJS.Timeout | undefined

  // A subscription that Redis refuses (an ACL without the channel) or does not answer is retried; a lost connection subscribes when it is back.
  async function subscribe (): Promise<void> {
    try {
      await subscriber.subscribe(name)
      isSubscribed = subscriber.status === 'ready'
    } catch (error) {
      if (subscriber.status !== 'ready') return
      report('subscribe', error as Error)
      retry = setTimeout(subscribe, RETRY_MS).unref()
    }
  }

  return {
    isSubscribed: () => isSubscribed,
    start () {
      subscriber.on('ready', subscribe)
      subscriber.on('message', (_name, message) => onInvalid(message.split(',')))
      subscriber.on('close', () => {
        clearTimeout(retry)
        isSubscribed = false
        onLost()
      })
      subscriber.connect().catch(() => {})
    },
    async publish (digests) {
      try {
        for (let start = 0; start < digests.length; start += CHUNK) {
          await publisher.publish(name, digests.slice(start, start + CHUNK).join(','))
        }
      } catch (error) {
        report('publish', error as Error)
      }
    },
    async close () {
      subscriber.disconnect()
    }
  }
}
