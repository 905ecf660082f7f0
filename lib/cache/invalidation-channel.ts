import type { Digest } from '../../types/cache.js'

/** How near caches tell each other which entries are void. A message that is lost costs time, never an error. */
export interface InvalidationChannel {
  /** Whether every message would arrive now. */
  isSubscribed (): boolean
  start (): void
  /** Never rejects. */
  publish (digests: readonly Digest[]): Promise<void>
  close (): Promise<void>
}

/** What the channel asks of the ioredis client that is subscribed, and serves nothing else. */
export interface SubscriberCommands {
  connect (): Promise<void>
  subscribe (name: string): Promise<unknown>
  disconnect (): void
  on (event: 'ready' | 'close', listener: () => void): unknown
  on (event: 'message', listener: (name: string, message: string) => void): unknown
  readonly status: string
}

export interface InvalidationChannelSettings {
  /** Does not subscribe again by itself. */
  subscriber: SubscriberCommands
  publisher: { publish (name: string, message: string): Promise<unknown> }
  name: string
  onInvalid: (digests: readonly Digest[]) => void
  /** The subscription is lost, and with it what was said meanwhile. */
  onLost: () => void
  report: (operation: string, error: Error) => void
}

/** A message has so many digests at most: 22 kB. */
const CHUNK = 500
const RETRY_MS = 1000

/** Redis pub/sub on one channel: digests, joined by commas. Nobody's entry is meant by anything else. */
export function createInvalidationChannel ({ subscriber, publisher, name, onInvalid, onLost, report }: InvalidationChannelSettings): InvalidationChannel {
  let isSubscribed = false
  let retry: NodeJS.Timeout | undefined

  // What Redis refuses (an ACL without the channel) or does not answer is tried again; a lost connection subscribes when it is back.
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
