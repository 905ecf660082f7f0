import type { ChannelListener } from './channel.js'

/** One connection that receives messages. */
export interface Receiver {
  /** Resolves when it receives; rejects if it cannot. */
  ready: Promise<void>
  close (): void
}

export interface SubscriptionSettings {
  /** Opens a connection, which calls back for every message, and when it is lost. It may throw. */
  connect (onMessage: (message: string) => void, onLost: () => void): Receiver
  onFailure: (error: Error) => void
}

export interface Subscription {
  /** Connects, and again after each loss. A second call has no effect. */
  open (listener: ChannelListener): void
  renew (): void
  close (): void
}

/** Pauses before the next connection, which double. */
const FIRST_MS = 100
const LONGEST_MS = 2000

/** Receives messages over one connection at a time, which is replaced when it is lost. */
export function createSubscription ({ connect, onFailure }: SubscriptionSettings): Subscription {
  let listener: ChannelListener | null = null
  let current: Receiver | null = null
  let isUp = false
  let isClosed = false
  let pauseMs = FIRST_MS
  let retry: NodeJS.Timeout | undefined

  function begin (): void {
    try {
      follow()
    } catch (error) {
      onFailure(error as Error)
      beginLater()
    }
  }

  function follow (): void {
    const receiver: Receiver = connect(
      (message) => { if (receiver === current) listener!.onMessage(message) },
      () => lose(receiver)
    )
    current = receiver
    receiver.ready.then(() => { if (receiver === current) up() }, (error) => {
      if (receiver === current) onFailure(error)
      lose(receiver)
    })
  }

  function up (): void {
    isUp = true
    pauseMs = FIRST_MS
    listener!.onUp()
  }

  function lose (receiver: Receiver | null): void {
    if (receiver === null || receiver !== current) return
    current = null
    receiver.close()
    if (isUp) listener!.onDown()
    isUp = false
    beginLater()
  }

  function beginLater (): void {
    if (isClosed) return
    retry = setTimeout(begin, pauseMs).unref()
    pauseMs = Math.min(2 * pauseMs, LONGEST_MS)
  }

  return {
    open (given) {
      if (listener !== null || isClosed) return
      listener = given
      begin()
    },
    renew () { lose(current) },
    close () {
      isClosed = true
      clearTimeout(retry)
      lose(current)
    }
  }
}
