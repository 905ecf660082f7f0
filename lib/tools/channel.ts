/** Messages between servers. No promise depends on their arrival: one that is lost, late, repeated or out of order costs time. */
export interface Channel {
  /** Starts to receive. A second call has no effect. */
  open (listener: ChannelListener): void
  /** Sends to one server, or to all with `null`. Resolves when the message is on its way. */
  send (server: string | null, message: string): Promise<void>
  /** Drops the connection that receives, and makes a new one. */
  renew (): void
  close (): Promise<void>
  /** Maximum length of a message in characters. */
  readonly maxLength: number
}

export interface ChannelListener {
  /** Messages to this server and to all. */
  onMessage (message: string): void
  /** It receives from now on. */
  onUp (): void
  /** It receives nothing any more. */
  onDown (): void
}
